"""The command line: `macaw NOUN VERB`. One file for each noun; what a command needs is imported inside it."""

from macaw.cli.entry import main

__all__ = ["main"]
