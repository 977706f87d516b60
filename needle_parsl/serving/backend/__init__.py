"""The `model.py` of models: texts that are copied into a repository and executed by the server, where needle need not be installed."""
