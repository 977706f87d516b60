"""What is done to features before networks see them: fitted to training events, stored and exported with the networks.

NumPy alone; torch evaluates the same formulas in `formulas`.
"""
