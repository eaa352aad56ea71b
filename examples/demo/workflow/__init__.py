"""`make demo-workflow`: a process of several steps with people in it, and the refusals on the way."""
