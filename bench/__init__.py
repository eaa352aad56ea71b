"""Measures this project against the best that the same machine can do. `python -m bench`, `python -m bench.stages`."""
