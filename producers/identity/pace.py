"""Time for logins: a clock that goes on while the machine sleeps, and waiting that can be ended."""

from __future__ import annotations

import threading
import time
from typing import Protocol

_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", None)


class Pace(Protocol):
    """A clock and a way to wait. Tests bring their own."""

    def now(self) -> float:
        """Return seconds since some moment. They never run backwards, and count a sleep of the machine."""
        ...

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait for an event, at most so long; return whether it is set."""
        ...


class SystemPace:
    """The clock of this machine. Where the system has no boot clock (macOS), a sleep of the machine is not counted."""

    def now(self) -> float:
        return time.monotonic() if _BOOT_CLOCK is None else time.clock_gettime(_BOOT_CLOCK)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(seconds)


SYSTEM_PACE = SystemPace()
