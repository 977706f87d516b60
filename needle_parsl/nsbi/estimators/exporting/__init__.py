"""Estimators for colleagues without needle: ONNX graphs, and files for torch."""
