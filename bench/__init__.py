"""Measures this project against what the same machine can do at best. `python -m bench`, `python -m bench.stages`."""
