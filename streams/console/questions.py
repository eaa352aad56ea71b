"""The console's questions to its store. Each opens a connection of its own, so requests do not wait for one another."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from schemas.words import Outcome
from streams.console.store import MINUTE_MS, CallStoreError, open_reader

PAGE_ROWS = 50
TOP_ROWS = 8
BARS = 60  # of a chart
ANSWER_SECONDS = 3.0  # of one statement: a text is looked for in every row that the filters leave
STEPS_BETWEEN_LOOKS = 10_000  # of SQLite's machine
FILTERS = ("outcome", "reason", "principal", "resource", "session")
TEXT_CHARS_MAX = 256
_CALLS = "SELECT calls.*, result, result_reason, result_at, result_index FROM calls LEFT JOIN outcomes USING (event)"

Row = Mapping[str, Any]


class SlowQuestionError(CallStoreError):
    """A question has no answer within its time."""


@dataclass(frozen=True, slots=True)
class CallsAsked:
    """Which calls to list: equal to each filter, in a span of time (ms), with a text in the reason's detail."""

    filters: Mapping[str, str]
    since: int | None = None
    until: int | None = None
    text: str = ""
    before: int | None = None  # audit index: the page behind this call


class CallsPage(NamedTuple):
    """A page of calls, the newest first, and the index with which the next page is asked for; None at the end."""

    rows: list[Row]
    before: int | None


class Counted(NamedTuple):
    """A value with its number of calls."""

    name: str
    calls: int


class Bar(NamedTuple):
    """The calls of a piece of time that begins at `at` (ms), by outcome."""

    at: int
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Overview:
    """The calls of a span of time."""

    since: int
    until: int
    outcomes: Mapping[str, int]
    reasons: list[Counted]
    resources: list[Counted]
    observed: list[Counted]
    bars: list[Bar]
    waiting: int

    @property
    def total(self) -> int:
        """The number of decisions."""
        return sum(self.outcomes.values())


class Questions:
    """Answers from the store at a path."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def calls(self, asked: CallsAsked) -> CallsPage:
        """Return a page of calls. Raises CallStoreError."""
        wheres, values = _conditions(asked)
        sql = f"{_CALLS} WHERE {' AND '.join(wheres)} ORDER BY audit_index DESC LIMIT ?"
        rows = self._rows(sql, [*values, PAGE_ROWS + 1])
        more = len(rows) > PAGE_ROWS
        page = [_told(row) for row in rows[:PAGE_ROWS]]
        return CallsPage(page, page[-1]["audit_index"] if more else None)

    def newer(self, asked: CallsAsked, than: int) -> int:
        """Return how many calls came after an audit index, at most PAGE_ROWS + 1. Raises CallStoreError."""
        wheres, values = _conditions(asked)
        sql = f"SELECT COUNT(*) FROM (SELECT 1 FROM calls WHERE {' AND '.join(wheres)} AND audit_index > ? LIMIT ?)"  # noqa: S608
        [(count,)] = self._rows(sql, [*values, than, PAGE_ROWS + 1])
        return int(count)

    def call(self, event: str) -> Row | None:
        """Return the call with this digest (hex), None for one that is not held. Raises CallStoreError."""
        rows = self._rows(f"{_CALLS} WHERE event = ?", [event])
        return _told(rows[0]) if rows else None

    def overview(self, since: int, until: int) -> Overview:
        """Return the counts of a span of time (ms), in whole minutes. Raises CallStoreError."""
        first, last = since // MINUTE_MS, until // MINUTE_MS
        span = [first, last]
        per_bar = max(1, -(-(last - first + 1) // BARS))
        where = "FROM minutes WHERE minute BETWEEN ? AND ?"
        outcomes = self._rows(f"SELECT outcome, SUM(count) {where} GROUP BY outcome", span)
        bars = self._rows(
            f"SELECT (minute - ?) / ?, outcome, SUM(count) {where} GROUP BY 1, 2", [first, per_bar, *span]
        )
        denied = f"{where} AND outcome = '{Outcome.DENIED}'"
        [(waiting,)] = self._rows("SELECT COUNT(*) FROM calls WHERE outcome = ?", [Outcome.PENDING])
        return Overview(
            since=first * MINUTE_MS,
            until=until,
            outcomes={row[0]: row[1] for row in outcomes},
            reasons=self._top("reason", denied, span),
            resources=self._top("resource", denied, span),
            observed=self._top("observed", f"{where} AND observed != ''", span),
            bars=_bars(bars, first, last, per_bar),
            waiting=waiting,
        )

    def _top(self, column: str, of: str, span: list[int]) -> list[Counted]:
        sql = f"SELECT {column}, SUM(count) AS n {of} GROUP BY 1 ORDER BY n DESC, 1 LIMIT {TOP_ROWS}"
        return [Counted(name, count) for name, count in self._rows(sql, span)]

    def _rows(self, sql: str, values: Iterable[object]) -> list[sqlite3.Row]:
        until = time.monotonic() + ANSWER_SECONDS
        try:
            with closing(open_reader(self._path)) as reader:
                reader.set_progress_handler(lambda: time.monotonic() > until, STEPS_BETWEEN_LOOKS)
                return reader.execute(sql, tuple(values)).fetchall()
        except sqlite3.Error as exc:
            if getattr(exc, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
                raise SlowQuestionError(
                    f"no answer within {ANSWER_SECONDS:g} s: give a filter beside the text"
                ) from exc
            raise CallStoreError(f"cannot read {self._path}: {exc}; start the console again") from exc


def _conditions(asked: CallsAsked) -> tuple[list[str], list[object]]:
    wheres, values = ["1"], list[object]()
    for name in FILTERS:
        if name in asked.filters:
            wheres.append(f"{name} = ?")
            values.append(asked.filters[name])
    bounds = (("at >= ?", asked.since), ("at <= ?", asked.until), ("audit_index < ?", asked.before))
    for where, value in bounds:
        if value is not None:
            wheres.append(where)
            values.append(value)
    if asked.text:
        wheres.append("instr(lower(detail), lower(?)) > 0")
        values.append(asked.text)
    return wheres, values


def _told(row: sqlite3.Row) -> Row:
    told = dict(row)
    for name in ("subjects", "policies", "verdicts"):
        told[name] = json.loads(told[name])
    return told


def _bars(rows: Iterable[sqlite3.Row], first: int, last: int, per_bar: int) -> list[Bar]:
    counts: dict[int, dict[str, int]] = {number: {} for number in range((last - first) // per_bar + 1)}
    for number, outcome, count in rows:
        counts[number][outcome] = count
    return [Bar((first + number * per_bar) * MINUTE_MS, one) for number, one in counts.items()]
