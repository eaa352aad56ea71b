"""Threads that run calls one after the other. A thread that a call holds for good is replaced, so the others go on.

A thread cannot be stopped from outside. One that comes back after it was replaced ends, so that their number stays the
same; those that never come back do not keep the process from ending.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class Crew:
    """A fixed number of threads, and those that were replaced and have not come back."""

    def __init__(self, name: str, count: int) -> None:
        """Start the threads. Raises RuntimeError where the system has none left."""
        self._name, self._lock = name, threading.Lock()
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._running = set[Callable[[], None]]()
        self._held = set[Callable[[], None]]()
        for _ in range(count):
            self._start()

    @property
    def held(self) -> int:
        """How many threads were replaced and have not come back."""
        return len(self._held)

    @property
    def is_whole(self) -> bool:
        """Whether every thread still runs; a tool may end the thread that it runs in."""
        return all(one.is_alive() for one in list(self._threads))

    def submit(self, work: Callable[[], None]) -> None:
        """Let a thread run this when one is free. Requires that it raises nothing."""
        self._queue.put(work)

    def replace(self, work: Callable[[], None]) -> None:
        """Start another thread for the one that this piece of work holds, if it still does."""
        with self._lock:
            if work not in self._running:
                return
            try:
                self._start()
            except RuntimeError:  # the system has none left
                log.exception("a thread of %s is held, and none can be started for it", self._name)
            else:
                self._held.add(work)

    def stop(self) -> None:
        """Let the threads end when they have nothing to do. Those that are held are left."""
        for _ in list(self._threads):
            self._queue.put(None)

    def join(self) -> None:
        """Wait until every thread has ended. Requires `stop`, and that none is held."""
        for thread in list(self._threads):
            thread.join()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            with self._lock:
                self._running.add(work)
            work()
            with self._lock:
                self._running.discard(work)
                if work in self._held:
                    self._held.discard(work)
                    break
        with self._lock:
            self._threads.remove(threading.current_thread())
