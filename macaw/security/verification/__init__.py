"""Shapes of verifiers, under the names of the original's pages."""
