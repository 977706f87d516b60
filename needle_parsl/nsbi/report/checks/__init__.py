"""The checks of a run: each says in one sentence whether a result can be believed."""
