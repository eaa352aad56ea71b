"""Exit statuses of every command."""

from typing import Final

DONE: Final = 0
FAILED: Final = 1  # refused, denied or broken off; or a check does not hold
USAGE: Final = 2  # the command line is wrong
NO_ENGINE: Final = 3  # nothing is said of the log: the engine that decided it is not installed here
INTERRUPTED: Final = 130  # ended by Ctrl-C
