"""The share of each caller in the calls that an instance runs: one of them alone leaves room for others."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from producers.agent.threads import BusyError


class Callers:
    """Counts the calls that run, by the principal that called. Thread-safe."""

    def __init__(self, most: int, *, own: str) -> None:
        """Allow each caller `most` calls at once; the principal `own`, whose calls these are, is not counted."""
        self._most, self._own = most, own
        self._lock = threading.Lock()
        self._running: Counter[str] = Counter()

    @contextmanager
    def one_more(self, principal_id: str) -> Iterator[None]:
        """Count a call of a principal for as long as the block runs. Raises BusyError if it has its share already."""
        if principal_id == self._own:
            yield
            return
        with self._lock:
            if self._running[principal_id] >= self._most:
                raise BusyError(f"{self._most} calls of this caller run already")
            self._running[principal_id] += 1
        try:
            yield
        finally:
            with self._lock:
                self._running[principal_id] -= 1
                if not self._running[principal_id]:
                    del self._running[principal_id]
