"""Engines: what does the arithmetic of trainings, behind one interface (`protocol`)."""
