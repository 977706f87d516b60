"""Estimators: from trained members to density ratios."""
