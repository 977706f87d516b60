"""The machine: Parsl, futures and files, without torch."""
