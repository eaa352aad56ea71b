"""Names of the original's process on each machine, as its pages import them, over the parts of this project."""
