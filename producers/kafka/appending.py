"""An event on its way to the log, and its fate."""

from __future__ import annotations

from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from enum import Enum, auto

from schemas.errors import UnavailableError


class PublishError(UnavailableError):
    """The broker did not take the event, as far as is known here.

    `never_sent`: it is certain that the event cannot come to the log later either.
    """

    def __init__(self, message: str, *, never_sent: bool = False) -> None:
        super().__init__(message)
        self.never_sent = never_sent


class EventTooLargeError(PublishError):
    """The event is larger than the broker takes on intake."""


class Appending(Future[int]):
    """The offset of an event, once the broker has appended it."""

    given_up = False

    def give_up(self) -> None:
        """Take the event back if it has not been sent yet; `fate` says later whether that was so."""
        self.given_up = True
        self.cancel()

    def succeed(self, offset: int) -> None:
        """Note that the event is appended, unless its end was told before: its connection may have been closed."""
        with suppress(InvalidStateError):
            self.set_result(offset)

    def fail(self, why: PublishError) -> None:
        """Note that the event was not appended, as far as is known, unless its end was told before."""
        with suppress(InvalidStateError):
            self.set_exception(why)

    @property
    def fate(self) -> Fate:
        """The fate of the event as of now."""
        if self.cancelled():
            return Fate.NEVER_SENT
        if not self.done():
            return Fate.UNKNOWN
        exc = self.exception()
        if exc is None:
            return Fate.APPENDED
        return Fate.NEVER_SENT if isinstance(exc, PublishError) and exc.never_sent else Fate.UNKNOWN


class Fate(Enum):
    """The fate of an event: it was never sent, it is appended, or neither is known."""

    NEVER_SENT = auto()
    APPENDED = auto()
    UNKNOWN = auto()
