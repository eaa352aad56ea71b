"""The console's store: the calls of one tenant in SQLite, made from the log and thrown away at will.

One thread writes, in one transaction for each batch of records, together with the offsets behind it: each record counts
once, also after a crash, and also if somebody writes a copy of it to the topic. A call is known by the digest of its
event; its `event_id` is its sender's choice, and may be another call's. Readers have connections of their own. The
store holds what the topics `decisions` and `results` say in the clear, and no parameter. It is bounded in time and in
rows.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path

from schemas.errors import InstallationError
from schemas.records import Decision, Result
from schemas.words import Outcome

FORMAT = "2"
KEPT_MS = 30 * 24 * 3600 * 1000
CALLS_MAX = 5_000_000
MINUTE_MS = 60_000
BUSY_SECONDS = 5.0
REPORTS = frozenset({Outcome.OK, Outcome.FAILED, Outcome.UNKNOWN})
UNTRUSTED = "untrusted"
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE positions (topic TEXT, partition INTEGER, next INTEGER NOT NULL, PRIMARY KEY (topic, partition))
    WITHOUT ROWID;
CREATE TABLE calls (
    audit_index INTEGER PRIMARY KEY, event TEXT NOT NULL UNIQUE, event_id TEXT NOT NULL,
    at INTEGER NOT NULL, waited_at INTEGER,
    outcome TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL, observed TEXT NOT NULL,
    principal TEXT NOT NULL, resource TEXT NOT NULL, tool TEXT, session TEXT NOT NULL, subjects TEXT NOT NULL,
    policies TEXT NOT NULL, verdicts TEXT NOT NULL, parameters_sha256 TEXT);
CREATE TABLE outcomes (event TEXT PRIMARY KEY, result TEXT NOT NULL, result_reason TEXT NOT NULL,
    result_at INTEGER NOT NULL, result_index INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX calls_at ON calls (at);
CREATE INDEX calls_outcome ON calls (outcome, audit_index);
CREATE INDEX calls_reason ON calls (reason, audit_index);
CREATE INDEX calls_principal ON calls (principal, audit_index);
CREATE INDEX calls_resource ON calls (resource, audit_index);
CREATE INDEX calls_session ON calls (session, audit_index);
CREATE TABLE minutes (minute INTEGER, outcome TEXT, reason TEXT, observed TEXT, resource TEXT, count INTEGER NOT NULL,
    PRIMARY KEY (minute, outcome, reason, observed, resource)) WITHOUT ROWID;
"""


class CallStoreError(InstallationError):
    """The store of the console cannot be opened or written."""


def open_reader(path: Path) -> sqlite3.Connection:
    """Return a connection that reads. Raises CallStoreError."""
    try:
        reader = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)
    except sqlite3.Error as exc:
        raise CallStoreError(f"cannot read {path}: {exc}; start the console again") from exc
    reader.row_factory = sqlite3.Row
    return reader


class CallStore:
    """The writing end. One thread uses it."""

    def __init__(self, path: Path, genesis: bytes) -> None:
        """Open the store, and begin it anew if it is of another format or another founding. Raises CallStoreError."""
        self.path = path
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._db = self._opened(genesis)
        except (sqlite3.Error, OSError) as exc:
            raise CallStoreError(f"cannot open {path}: {exc}; remove the file, it is made anew from the log") from exc

    def _opened(self, genesis: bytes) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        self.path.chmod(0o600)
        want = {"format": FORMAT, "genesis": genesis.hex()}
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if tables and ("meta" not in tables or not want.items() <= _meta(db).items()):
            db.close()
            for suffix in ("", "-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
            return self._opened(genesis)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        if not tables:
            db.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
            db.executemany("INSERT INTO meta VALUES (?, ?)", want.items())
        return db

    def close(self) -> None:
        """Close the store."""
        self._db.close()

    def positions(self) -> dict[tuple[str, int], int]:
        """Return the next offset to read of each partition that was read."""
        return {(topic, number): at for topic, number, at in self._db.execute("SELECT * FROM positions")}

    def untrusted(self) -> int:
        """Return how many records were not shown since the store was made."""
        return int(_meta(self._db).get(UNTRUSTED, "0"))

    def put(
        self, records: Iterable[Decision | Result], positions: Mapping[tuple[str, int], int], untrusted: int = 0
    ) -> None:
        """Add records with the offsets behind them, all or none, and the records that are not shown so far.

        Raises CallStoreError.
        """
        try:
            self._db.execute("BEGIN")
            try:
                for record in records:
                    self._decided(record) if isinstance(record, Decision) else self._reported(record)
                self._db.executemany(
                    "INSERT OR REPLACE INTO positions VALUES (?, ?, ?)",
                    [(topic, number, at) for (topic, number), at in positions.items()],
                )
                self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (UNTRUSTED, str(untrusted)))
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.Error as exc:
            raise CallStoreError(f"cannot write {self.path}: {exc}; make room, and start the console again") from exc

    def forget(self, now: int) -> None:
        """Remove what is older than KEPT_MS at `now`, and the oldest above CALLS_MAX calls. Raises CallStoreError."""
        try:
            self._db.execute("DELETE FROM calls WHERE at < ?", (now - KEPT_MS,))
            self._db.execute("DELETE FROM outcomes WHERE result_at < ?", (now - KEPT_MS,))
            self._db.execute("DELETE FROM minutes WHERE minute < ?", ((now - KEPT_MS) // MINUTE_MS,))
            above = self._db.execute(
                "SELECT audit_index FROM calls ORDER BY audit_index DESC LIMIT 1 OFFSET ?", (CALLS_MAX,)
            ).fetchone()
            if above is not None:  # an outcome has a higher index than its decision
                self._db.execute("DELETE FROM calls WHERE audit_index <= ?", above)
                self._db.execute("DELETE FROM outcomes WHERE result_index <= ?", above)
                self._db.execute("DELETE FROM minutes WHERE minute < (SELECT MIN(at) / ? FROM calls)", (MINUTE_MS,))
        except sqlite3.Error as exc:
            raise CallStoreError(f"cannot write {self.path}: {exc}; make room, and start the console again") from exc

    def _decided(self, one: Decision) -> None:
        """Add a decision. A later decision of a call that waits takes the place of the one before.

        A copy of a record is passed over, and so is one with the audit index of another call.
        """
        event, waited_at = one.event.hex(), None
        known = self._db.execute(
            "SELECT event, audit_index, at, outcome, waited_at FROM calls WHERE event = ? OR audit_index = ?",
            (event, one.audit_index),
        ).fetchall()
        for its_event, index, at, outcome, since in known:
            if its_event != event or index >= one.audit_index or outcome != Outcome.PENDING:
                return
            waited_at = at if since is None else since
        observed = "" if one.observed is None else one.observed.reason
        verdicts = [[v.verifier, v.outcome, v.reason] for v in one.verdicts]
        self._db.execute("DELETE FROM calls WHERE event = ?", (event,))
        self._db.execute(
            "INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                one.audit_index, event, one.event_id.hex(), one.decided_at, waited_at, one.outcome, one.reason,
                one.detail, observed, one.principal_id, one.resource, one.tool, one.session_id.hex(),
                json.dumps(one.subjects), json.dumps([digest.hex() for digest in one.policies]), json.dumps(verdicts),
                None if one.parameters_sha256 is None else one.parameters_sha256.hex(),
            ),
        )  # fmt: skip
        self._db.execute(
            "INSERT INTO minutes VALUES (?, ?, ?, ?, ?, 1) ON CONFLICT DO UPDATE SET count = count + 1",
            (one.decided_at // MINUTE_MS, one.outcome, one.reason, observed, one.resource),
        )

    def _reported(self, one: Result) -> None:
        """Add the outcome of a call, which may come before its decision; other answers and copies are passed over."""
        if one.outcome in REPORTS:
            self._db.execute(
                "INSERT INTO outcomes VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET result = excluded.result,"
                " result_reason = excluded.result_reason, result_at = excluded.result_at,"
                " result_index = excluded.result_index WHERE excluded.result_index > result_index",
                (one.event.hex(), one.outcome, one.reason, one.at, one.audit_index),
            )


def _meta(db: sqlite3.Connection) -> dict[str, str]:
    return dict(db.execute("SELECT name, value FROM meta"))
