"""Functions of a program, and tools of agent frameworks, as governed calls of one session (docs/adapters.md)."""
