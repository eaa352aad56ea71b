"""Reports of observed calls, and policies that are suggested from calls."""
