"""The training store: one HDF5 file per sample, contiguous, in the order of the hash of the event ids, with checksums."""

from needle_parsl.nsbi.data.store.layout import Schema
from needle_parsl.nsbi.data.store.merger import merge
from needle_parsl.nsbi.data.store.reader import Store, read
from needle_parsl.nsbi.data.store.writer import Lost, StoredSource, Writer, write

__all__ = ["Lost", "Schema", "Store", "StoredSource", "Writer", "merge", "read", "write"]
