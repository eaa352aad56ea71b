"""Requests to end a serving process: Ctrl-C, SIGTERM, or a terminal that closes."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupting:
    """A block that every request to end interrupts, as Ctrl-C does. Requires the main thread."""

    def __init__(self) -> None:
        self._stopping = Stopping(_interrupt)

    def __enter__(self) -> None:
        self._stopping.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.__exit__(kind, exc, trace)


def _interrupt() -> None:
    raise KeyboardInterrupt


class Stopping:
    """A block in which a request to end is noted and calls `ask`. Requires the main thread.

    With `insist`, a second request ends the process at once.
    """

    def __init__(self, ask: Callable[[], None] = lambda: None, *, insist: bool = False) -> None:
        self.ask = ask
        self.signal: int | None = None
        self._insist = insist
        self._before: dict[int, Any] = {}

    @property
    def status(self) -> int:
        """The exit status: 130 after Ctrl-C, as shells expect, else 0."""
        return 130 if self.signal == signal.SIGINT else 0

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.signal = number
        if self._insist:
            for one in _SIGNALS:
                signal.signal(one, signal.SIG_DFL)
        self.ask()
