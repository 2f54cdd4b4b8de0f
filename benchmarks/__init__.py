"""Benchmarks: `python -m benchmarks [W1 …]` prints one JSON object a line; nothing here gates a test."""
