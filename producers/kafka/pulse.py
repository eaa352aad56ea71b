"""Signs of life of all instances of a process: one thread asks the log for each of them every PULSE_SECONDS."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from producers.home.process import OfOneProcess
from schemas import limits

log = logging.getLogger(__name__)

PULSE_SECONDS = limits.PRESENCE_MS / 1000 / 3  # two may be lost


class Pulse(OfOneProcess):
    """Calls each member again and again, as long as there is one. Thread-safe. A member returns soon."""

    def __init__(self, seconds: float = PULSE_SECONDS) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._members: set[Callable[[], None]] = set()
        self._stop = threading.Event()

    def join(self, member: Callable[[], None]) -> None:
        """Call a member from now on; the first time after a pulse."""
        with self._lock:
            if not self._members:
                self._stop = threading.Event()
                threading.Thread(target=self._run, args=(self._stop,), name="pulse", daemon=True).start()
            self._members.add(member)

    def leave(self, member: Callable[[], None]) -> None:
        """Call a member no longer; the thread ends with the last one."""
        with self._lock:
            self._members.discard(member)
            if not self._members:
                self._stop.set()

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(self._seconds):
            with self._lock:
                members = list(self._members)
            for member in members:
                try:
                    member()
                except Exception:  # one instance's connection must not cost the others their lives
                    log.exception("a sign of life could not be given")
