"""Becomes the command it is given, one that the kernel signals when its starter dies.

Run as a script: `with_parent.py <pid of the starter> <signal> <command> …`. A program of its own
because the request has to be made between fork and exec, where a process with threads may run no
Python. The kernel watches the *thread* that forked, so only a main thread may use this. Linux only.
"""

import ctypes
import os
import sys
from typing import Final

PR_SET_PDEATHSIG: Final = 1


def leash(signal_number: int) -> list[str]:
    """Return a prefix for a command, so that the kernel ends it with this process; empty where it is not Linux."""
    if sys.platform != "linux":
        return []
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(int(signal_number))]


def main(argv: list[str]) -> None:
    """Replace this process; end without a word when the starter is already gone."""
    starter, signal_number, *command = argv
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    # It may have died before the request; then no signal ever comes.
    if os.getppid() != int(starter):
        sys.exit(0)
    os.execv(command[0], command)  # noqa: S606 - the command comes from `process.py`, never a shell


if __name__ == "__main__":
    main(sys.argv[1:])
