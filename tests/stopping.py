"""A process that stops itself at a chosen line, for tests that take its place meanwhile."""

import signal
import threading


def stop_here() -> None:
    """Stop this process (SIGSTOP) before its next line; another process lets it go on with SIGCONT.

    The signal goes to this very thread, which the kernel stops before it returns from the call. A signal to the process
    waits until any of its threads takes it: on a busy machine this one could go on and commit in the meantime.
    """
    signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
