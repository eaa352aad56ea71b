"""The durable set of calls that a tool instance has begun to execute. What stands here is never executed again."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

KEEP_MS = 24 * 3600 * 1000  # far beyond `execute_before`, which refuses anything this old


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

    def begin(self, calls: Sequence[tuple[bytes, bytes, int]], *, now_ms: int) -> dict[bytes, bytes]:
        """Note (event, decision, execute_before) of calls about to run, durably, all at once.

        Return those that stand here already, by event, with the decision under which they ran: they must not run.
        """
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                known = {}
                for event, decision, execute_before in calls:
                    row = self._db.execute("SELECT decision FROM executed WHERE event = ?", (event,)).fetchone()
                    if row is not None:
                        known[event] = bytes(row[0])
                    else:
                        self._db.execute("INSERT INTO executed VALUES (?, ?, ?)", (event, decision, execute_before))
                self._db.execute("DELETE FROM executed WHERE execute_before < ?", (now_ms - KEEP_MS,))
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
        return known

    def close(self) -> None:
        with self._lock:
            self._db.close()
