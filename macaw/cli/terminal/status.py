"""Exit statuses of every command."""

from typing import Final

DONE: Final = 0
FAILED: Final = 1  # refused, denied or broken off; or a check does not hold
USAGE: Final = 2  # the command line is wrong
INTERRUPTED: Final = 130  # ended by Ctrl-C
