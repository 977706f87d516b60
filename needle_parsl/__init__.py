"""needle: neural simulation-based inference at scale, from simulated events to confidence intervals."""

import os

# Files are written under another name and renamed, so that no lock is needed. HDF5 takes one for whoever reads, too: a process that is being started holds
# it with its parent's open files until it is another program, and file systems of clusters often have none.
os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")

__version__ = "0.1.0"
