"""The durable set of calls that were begun, by this instance or, as far as the log told it, by another one.

What stands here is not executed under another decision, and under the same one only if it is idempotent and the
instance that began it is gone.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

from schemas import limits

# Longer than the caller's session may still live: a call that waited is admitted at any age with a fresh approval, and
# until its session has ended. An hour covers clocks that differ.
KEEP_MS = limits.SESSION_TTL_MS_MAX + 3600 * 1000


class ExecutedCalls:
    """Digests of callers' events, in SQLite with full synchronisation. Thread-safe."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS executed (event BLOB PRIMARY KEY, decision BLOB, execute_before INTEGER)"
        )

    def begin(self, calls: Sequence[tuple[bytes, bytes, int]], *, now_ms: int) -> list[bytes | None]:
        """Note (event, decision, execute_before) of calls, durably, all at once, before any of them runs.

        Return for each of them the decision that stood here for its event before: under that one the call ran. None
        means that it may run now.
        """
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                firsts = [self._note(*call) for call in calls]
                self._db.execute("DELETE FROM executed WHERE execute_before < ?", (now_ms - KEEP_MS,))
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
        return firsts

    def _note(self, event: bytes, decision: bytes, execute_before: int) -> bytes | None:
        row = self._db.execute("SELECT decision FROM executed WHERE event = ?", (event,)).fetchone()
        if row is not None:
            return bytes(row[0])
        self._db.execute("INSERT INTO executed VALUES (?, ?, ?)", (event, decision, execute_before))
        return None

    def close(self) -> None:
        with self._lock:
            self._db.close()
