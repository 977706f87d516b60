"""What needle changes in Parsl, or reaches into: one module for each, and nothing of the kind anywhere else.

Each begins with the version of Parsl that was seen, what goes wrong without it, what upstream says or could be told, and the test that
fails as soon as it is not needed any more (`tests/workflow/test_patches.py` has most of them: plain Parsl, showing the fault).
"""
