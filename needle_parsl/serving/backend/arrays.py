"""Arrays of Triton's Python backend, whatever the version of NumPy; a part of each `model.py`."""

import ctypes

import numpy as np
import triton_python_backend_utils as pb_utils

DLTENSOR, USED = b"dltensor", b"used_dltensor"
"""What a capsule with an array is called before and after somebody has taken the array."""
API = ctypes.pythonapi
API.PyCapsule_GetPointer.restype, API.PyCapsule_GetPointer.argtypes = (
    ctypes.c_void_p,
    [ctypes.py_object, ctypes.c_char_p],
)
API.PyCapsule_SetName.argtypes = [ctypes.py_object, ctypes.c_char_p]
API.PyCapsule_New.restype = ctypes.py_object
API.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


def array_of(tensor):
    """Give the numbers of an input. Triton 2.51 is compiled for NumPy 1, and misreads the arrays of NumPy 2, but not DLPack."""
    return tensor.as_numpy() if hasattr(pb_utils, "PLAIN") else np.from_dlpack(tensor)


def tensor_of(name, array):
    """Make an output; by DLPack, too, in a capsule that Triton may rename as it does."""
    if hasattr(pb_utils, "PLAIN"):
        return pb_utils.Tensor(name, array)
    given = array.__dlpack__()
    pointer = API.PyCapsule_GetPointer(given, DLTENSOR)
    API.PyCapsule_SetName(given, USED)
    return pb_utils.Tensor.from_dlpack(name, API.PyCapsule_New(pointer, DLTENSOR, None))
