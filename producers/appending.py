"""An event on its way to the log, and what is known of it."""

from __future__ import annotations

from concurrent.futures import Future
from enum import Enum, auto


class PublishError(RuntimeError):
    """The broker did not take the event, as far as anybody here knows.

    `never_sent`: it cannot come to the log later either. Else nobody here can know.
    """

    def __init__(self, message: str, *, never_sent: bool = False) -> None:
        super().__init__(message)
        self.never_sent = never_sent


class EventTooLargeError(PublishError):
    """The event exceeds what the broker takes on intake."""


class Appending(Future[int]):
    """The offset of an event, once the broker has appended it."""

    given_up = False

    def give_up(self) -> None:
        """Take the event back, wherever it has not been sent yet. `fate` says later whether that was so."""
        self.given_up = True
        self.cancel()

    @property
    def fate(self) -> Fate:
        """What is known of the event now."""
        if self.cancelled():
            return Fate.NEVER_SENT
        if not self.done():
            return Fate.UNKNOWN
        exc = self.exception()
        if exc is None:
            return Fate.APPENDED
        return Fate.NEVER_SENT if isinstance(exc, PublishError) and exc.never_sent else Fate.UNKNOWN


class Fate(Enum):
    """What is known of an event whose caller waits no more."""

    NEVER_SENT = auto()
    APPENDED = auto()
    UNKNOWN = auto()
