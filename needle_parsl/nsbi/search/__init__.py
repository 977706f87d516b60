"""Hyper-parameters: trials with replicas, what is measured of them, and which go on."""
