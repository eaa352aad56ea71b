"""The command line: `macaw NOUN VERB`. One file for each noun; a command imports its needs inside its function."""

from macaw.cli.entry import main

__all__ = ["main"]
