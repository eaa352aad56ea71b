"""Work in another thread, for a task that may be cancelled meanwhile.

A thread cannot be cancelled. A connection that it opens, or a call that it sends, would have no owner once its task is
gone: so the work that nobody takes is undone.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[[], T], undo: Callable[[T | None], object]) -> T:
    """Return what `work` returns in another thread, or raise what it raises.

    If the task is cancelled, `undo` is called once, when the work does not run: with its result, or with None if it was
    never begun or has raised. It is called in either thread, and must not block.
    """
    given = _Given(work, undo)
    try:
        return await asyncio.to_thread(given.run)
    except asyncio.CancelledError:
        given.give_up()
        raise


class _Given(Generic[T]):
    """A piece of work between the task that waits for it and the thread that does it."""

    def __init__(self, work: Callable[[], T], undo: Callable[[T | None], object]) -> None:
        self._work, self._undo = work, undo
        self._lock = threading.Lock()
        self._is_running = self._is_wanted_no_more = False
        self._result: T | None = None

    def run(self) -> T:
        """Do the work; undo it if its task has gone meanwhile."""
        with self._lock:
            if self._is_wanted_no_more:
                raise asyncio.CancelledError
            self._is_running = True
        try:
            self._result = result = self._work()
        finally:
            with self._lock:
                self._is_running = False
                left = self._is_wanted_no_more
            if left:
                self._undo(self._result)
        return result

    def give_up(self) -> None:
        """Take note that the task has gone; undo the work unless its thread will."""
        with self._lock:
            self._is_wanted_no_more = True
            is_running = self._is_running
        if not is_running:
            self._undo(self._result)
