"""The science: pure functions of arrays, without Parsl, clusters or a command line."""
