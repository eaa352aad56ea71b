"""`macaw demo workflow`: a process of several steps, with people in it, and what was refused on the way."""
