"""The processes of a run: who starts them, who ends them, and how one was lost."""
