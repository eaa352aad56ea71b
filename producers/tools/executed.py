"""The durable memory of one instance: the calls that were begun, and the reports that could not be sent yet.

A call in it is not executed under another decision, and under the same one only if it is idempotent and the instance
that began it is gone. It was begun by this instance or, as far as the log told, by another one.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

from schemas import limits

# Longer than the caller's session may still live: a call that waited is admitted at any age with a fresh approval, and
# until its session has ended. An hour covers clocks that differ.
KEEP_MS = limits.SESSION_TTL_MS_MAX + 3600 * 1000
FORGOTTEN_PER_BATCH_MAX = 1024  # four times as many as a batch can add; the first one after a long rest stays short too


class ExecutedCalls:
    """Digests of callers' events, and unsent reports, in SQLite with full synchronisation. Thread-safe."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = path
        self._lock = threading.Lock()
        # For its owner alone, since reports hold results; the library gives its further files the same mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS executed (event BLOB PRIMARY KEY, decision BLOB, execute_before INTEGER)"
        )
        self._db.execute("CREATE INDEX IF NOT EXISTS executed_by_time ON executed (execute_before)")
        self._db.execute("CREATE TABLE IF NOT EXISTS unsent (event BLOB PRIMARY KEY, report TEXT NOT NULL)")

    def begin(self, calls: Sequence[tuple[bytes, bytes, int]], *, now_ms: int) -> list[bytes | None]:
        """Note (event, decision, execute_before) of calls, durably, all at once, before any of them runs.

        Return for each call the decision that was noted for its event before: under that one the call ran. None means
        that it may run now.

        Raises:
            sqlite3.Error: nothing is noted, so nothing may run.
        """
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                firsts = [self._note(*call) for call in calls]
                self._db.execute(
                    "DELETE FROM executed WHERE rowid IN"
                    " (SELECT rowid FROM executed WHERE execute_before < ? ORDER BY execute_before LIMIT ?)",
                    (now_ms - KEEP_MS, FORGOTTEN_PER_BATCH_MAX),
                )
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # of a full disk SQLite has taken it back itself
                    self._db.execute("ROLLBACK")
                raise
        return firsts

    def _note(self, event: bytes, decision: bytes, execute_before: int) -> bytes | None:
        row = self._db.execute("SELECT decision FROM executed WHERE event = ?", (event,)).fetchone()
        if row is not None:
            return bytes(row[0])
        self._db.execute("INSERT INTO executed VALUES (?, ?, ?)", (event, decision, execute_before))
        return None

    def keep_report(self, event: bytes, report: str) -> None:
        """Keep the report of a call until `forget_report`. Raises sqlite3.Error."""
        with self._lock:
            self._db.execute("INSERT OR REPLACE INTO unsent VALUES (?, ?)", (event, report))

    def forget_report(self, event: bytes) -> None:
        """Keep the report of a call no longer. Raises sqlite3.Error."""
        with self._lock:
            self._db.execute("DELETE FROM unsent WHERE event = ?", (event,))

    def reports(self) -> dict[bytes, str]:
        """Return the reports that are kept, by the event of their call, in the order in which they came."""
        with self._lock:
            rows = self._db.execute("SELECT event, report FROM unsent ORDER BY rowid").fetchall()
        return {bytes(event): report for event, report in rows}

    def close(self) -> None:
        with self._lock:
            self._db.close()
