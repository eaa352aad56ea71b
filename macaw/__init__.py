"""The `macaw` program: its command line, its tools for authors of policies, and installations."""
