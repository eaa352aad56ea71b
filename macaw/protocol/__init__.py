"""Shapes of calls, under the names of the original's pages."""
