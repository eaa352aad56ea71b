"""Threads on demand: a call within a call gets a thread of its own, so no depth of calls waits for itself."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from schemas.errors import UnavailableError

IDLE_SECONDS = 10.0


class BusyError(UnavailableError):
    """As many threads run as may run."""


class Threads:
    """Runs pieces of work, each at once. A thread that is idle takes the next one, and ends after IDLE_SECONDS."""

    def __init__(self, name: str, most: int) -> None:
        self._name, self._most = name, most
        self._changed = threading.Condition()
        self._queue: deque[Callable[[], None]] = deque()
        self._idle = self._count = 0

    def submit(self, work: Callable[[], None]) -> None:
        """Run this now. Requires that it raises nothing.

        Raises:
            BusyError: too many threads run, or the system has none left.
        """
        with self._changed:
            if self._idle > len(self._queue):
                self._queue.append(work)
                self._changed.notify()
                return
            if self._count >= self._most:
                raise BusyError(f"{self._count} calls run already")
            self._count += 1
        try:
            threading.Thread(target=self._run, args=(work,), name=self._name, daemon=True).start()
        except RuntimeError as exc:
            with self._changed:
                self._count -= 1
            raise BusyError("the system has no thread left") from exc

    def replace(self, work: Callable[[], None]) -> None:
        """Take note that a piece of work holds its thread: others get threads of their own anyway."""

    def _run(self, work: Callable[[], None] | None) -> None:
        try:
            while work is not None:
                work()
                work = self._next()
        finally:
            with self._changed:
                self._count -= 1

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            self._idle += 1
            try:
                self._changed.wait_for(lambda: bool(self._queue), IDLE_SECONDS)
                return self._queue.popleft() if self._queue else None
            finally:
                self._idle -= 1
