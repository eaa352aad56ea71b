"""A program's session that is followed by the next one before it ends.

A session lives a day at most, and no bridge renews that of a program: its own key opens another (ADR 0029). The next
one begins as every session does: without the things of the one before, as its scope of the vault and its prompts.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from producers.home.clock import clock_ms
from schemas.errors import MacawError

log = logging.getLogger(__name__)

MARGIN_MS_MAX = 75 * 60_000  # a tool runs an hour at most: what began in the old session ends in it
LOOK_SECONDS = 60.0  # between two looks, so that a clock that is set does not matter
RETRY_SECONDS = 5.0  # after an attempt to open the next session


class Ending(Protocol):
    """Something with a session that ends: a client, or an agent."""

    @property
    def expires_at(self) -> int | None:
        """The end of the session in ms since the epoch, None where it is not known."""

    def close(self) -> None:
        """End it."""


T = TypeVar("T", bound=Ending)


class Succession(Generic[T]):
    """The session in use, and the thread that opens the next one. Thread-safe.

    `changing` is held while a session follows another: a holder has the same `current` until it lets go.
    """

    def __init__(self, first: T, connect: Callable[[], T], on_next: Callable[[T], object] = lambda _: None) -> None:
        """Begin with an open session; `connect` opens each further one, and `on_next` is told of it."""
        self.changing = threading.RLock()
        self._connect, self._on_next = connect, on_next
        self._left: list[T] = []  # sessions whose calls may still run
        self._over = threading.Event()
        self._take(first)
        self._thread = threading.Thread(target=self._run, name="succession", daemon=True)
        self._thread.start()

    @property
    def current(self) -> T:
        """The newest session."""
        return self._current

    @property
    def every(self) -> list[T]:
        """The newest session, and those before it of which calls may still run."""
        return [self._current, *self._left]

    def _take(self, one: T) -> None:
        ends_at = one.expires_at
        self._current = one
        self._due = None if ends_at is None else ends_at - min(MARGIN_MS_MAX, max(0, ends_at - clock_ms()) // 2)

    def _run(self) -> None:
        while not self._over.wait(self._pause()):
            self._close_ended()
            if self._due is None or clock_ms() < self._due:
                continue
            try:
                self._follow()
            except Exception as exc:  # noqa: BLE001 - a broker's error, or a full disk: without this thread none follows
                log.warning(
                    "the next session was not opened yet: %s", exc if isinstance(exc, MacawError) else _name(exc)
                )
                self._over.wait(RETRY_SECONDS)

    def _pause(self) -> float:
        return LOOK_SECONDS if self._due is None else min(LOOK_SECONDS, max(0.0, (self._due - clock_ms()) / 1000))

    def _follow(self) -> None:
        """Open the next session. Raises MacawError."""
        with self.changing:
            if self._over.is_set():
                return
            found = self._connect()
            self._left.append(self._current)
            self._take(found)
            self._on_next(found)

    def _close_ended(self) -> None:
        now = clock_ms()
        over = [one for one in self._left if (one.expires_at or 0) <= now]
        self._left = [one for one in self._left if one not in over]
        for one in over:
            try:
                one.close()
            except Exception as exc:  # noqa: BLE001 - it has ended by its time, and the thread goes on
                log.warning("a session that has ended was not closed: %s", _name(exc))

    def close(self) -> None:
        """End every session."""
        self._over.set()
        self._thread.join()
        with self.changing:
            for one in (*self._left, self._current):
                one.close()
            self._left = []


def _name(exc: Exception) -> str:
    return type(exc).__name__
