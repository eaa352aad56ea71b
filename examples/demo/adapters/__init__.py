"""The demo of other people's adapters: `macaw-adapters` from PyPI, unchanged, on this log."""
