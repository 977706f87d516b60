"""Events: from files to arrays, and from arrays to the training store."""
