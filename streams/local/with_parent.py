"""A script that replaces itself with a command, so that the kernel signals the command when its starter dies.

Usage: `with_parent.py <pid of the starter> <signal> <command> …`. It is a program of its own, because
the request to the kernel must be made between fork and exec, and a process with threads must not run
Python there. The kernel watches the *thread* that forked, so only a main thread may use this. Linux only.
"""

import ctypes
import os
import sys
from typing import Final

PR_SET_PDEATHSIG: Final = 1


def leash(signal_number: int) -> list[str]:
    """Return a prefix for a command, with which the kernel ends it when this process dies; empty except on Linux."""
    if sys.platform != "linux":
        return []
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(int(signal_number))]


def main(argv: list[str]) -> None:
    """Replace this process by the command; exit with status 0 if the starter has died already."""
    starter, signal_number, *command = argv
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    # If the starter died before the request, the kernel sends no signal.
    if os.getppid() != int(starter):
        sys.exit(0)
    os.execv(command[0], command)  # noqa: S606 - the command comes from `process.py`, never a shell


if __name__ == "__main__":
    main(sys.argv[1:])
