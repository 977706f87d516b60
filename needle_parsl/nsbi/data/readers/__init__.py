"""Input files of every format behind one protocol: rows in ranges, columns as NumPy arrays."""

from needle_parsl.nsbi.data.readers.columns import Columns
from needle_parsl.nsbi.data.readers.opening import READERS, open_file, require
from needle_parsl.nsbi.data.readers.protocol import Reader

__all__ = ["READERS", "Columns", "Reader", "open_file", "require"]
