"""The end of a client that nobody unregistered: its process ends, or the program has lost its last reference.

A process sends the last events and ends the sessions, in a fraction of a second. A session whose end was not sent by
then ends by its time to live. What a lost client leaves is tidied up by one thread, because a garbage collector must
not wait for brokers.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from queue import SimpleQueue
from typing import Protocol

from producers.client import ForkedError, PublishError

log = logging.getLogger(__name__)

EXIT_SECONDS = 0.5  # for all clients of the process together


class Leaving(Protocol):
    """A client that can be left."""

    def leave(self) -> list[Future[int]]:
        """Send the last events; return the futures of all that are on their way. Wait for nothing."""


class _Open:
    """The registered clients of this process, and the work that lost ones have left."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.clients: weakref.WeakSet[Leaving] = weakref.WeakSet()
        self.left: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.is_tidied = False
        self.lock = threading.Lock()

    def add(self, client: Leaving) -> None:
        with self.lock:
            self.clients.add(client)
            if not self.is_tidied:
                threading.Thread(target=_tidy_up, args=(self.left,), name="tidying", daemon=True).start()
                self.is_tidied = True


def _tidy_up(left: SimpleQueue[Callable[[], None]]) -> None:
    while True:
        work = left.get()
        try:
            work()
        except (PublishError, ForkedError) as exc:
            log.warning("a client that was lost could not end its session: %s", exc)
        except Exception:  # others are tidied up all the same
            log.exception("a client that was lost could not be tidied up")
        del work


_OPEN = _Open()
# Those of a parent are not ours to end.
os.register_at_fork(after_in_child=_OPEN.begin)


def end_at_exit(client: Leaving) -> None:
    """See that a client's session ends with the process."""
    _OPEN.add(client)


def later(work: Callable[[], None]) -> None:
    """Do this soon, in another thread. A finalizer may call it at any moment: it takes no lock and starts no thread."""
    _OPEN.left.put(work)


def ended(client: Leaving) -> None:
    """Take note that a client has ended its session itself."""
    _OPEN.clients.discard(client)


@atexit.register
def _leave_all() -> None:
    until = time.monotonic() + EXIT_SECONDS
    sent: list[Future[int]] = []
    for client in list(_OPEN.clients):
        with suppress(PublishError, ForkedError):
            sent += client.leave()
    wait(sent, max(0.0, until - time.monotonic()))
