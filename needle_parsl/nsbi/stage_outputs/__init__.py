"""Outputs of the user's stages: their formats, their merges, and what they are checked for."""
