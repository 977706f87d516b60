"""The training store: one HDF5 file per sample, contiguous, in the order of the hash of the event ids, with checksums."""

from needle_parsl.nsbi.data.store.layout import Schema
from needle_parsl.nsbi.data.store.merging import merge
from needle_parsl.nsbi.data.store.reading import Store, read
from needle_parsl.nsbi.data.store.writing import Lost, Source, Writer, write

__all__ = ["Lost", "Schema", "Source", "Store", "Writer", "merge", "read", "write"]
