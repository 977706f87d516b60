"""Input files of every format behind one protocol: rows in ranges, columns as NumPy arrays."""

from needle_parsl.nsbi.data.readers.columns import Columns
from needle_parsl.nsbi.data.readers.protocol import Reader
from needle_parsl.nsbi.data.readers.registry import READERS, open_file, require

__all__ = ["READERS", "Columns", "Reader", "open_file", "require"]
