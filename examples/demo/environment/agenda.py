"""A calendar in SQLite: events with their participants, cancelled events kept and marked."""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from examples.demo.environment.arguments import (
    moment_text,
    require_addresses,
    require_body,
    require_day,
    require_id,
    require_line,
    require_moment,
    require_query,
    shown,
)
from examples.demo.environment.journal import Database, Effect, Record, count, record
from producers.tools import tool

# `batch` is 0 for participants of the new event, and one higher for each later invitation.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT NOT NULL, description TEXT NOT NULL,
    start_time TEXT NOT NULL, end_time TEXT NOT NULL,
    moved INTEGER NOT NULL DEFAULT 0, cancelled INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS participants (
    event_id INTEGER NOT NULL REFERENCES events (id), email TEXT NOT NULL, batch INTEGER NOT NULL,
    PRIMARY KEY (event_id, email)
) STRICT;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One entry of the calendar, times as 'YYYY-MM-DD HH:MM'."""

    id: int
    title: str
    description: str
    start_time: str
    end_time: str
    participants: tuple[str, ...] = ()


class Agenda:
    """The calendar of one person, who takes part in every event of it."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path / "agenda.sqlite", _SCHEMA)

    def seed(self, events: Sequence[Event], *, owner: str, today: str) -> None:
        """Fill a new calendar; the seed is not counted as a side effect."""
        with self._database.writing() as connection:
            for event in events:
                row = (event.id, event.title, event.description, event.start_time, event.end_time)
                connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, 0, 0)", row)
                _invite(connection, event.id, (owner, *event.participants), batch=0)
        self._database.close_seed(self._tally(), {"owner": owner, "today": require_day(today, "today")})

    def effects(self) -> list[Effect]:
        """Return the side effects since the seed, in order, from the journal."""
        return self._database.effects()

    def recount(self) -> dict[str, int]:
        """Return the number of side effects of each kind, counted from the events and participants themselves."""
        return self._database.since_seed(self._tally())

    def _tally(self) -> dict[str, int]:
        later = "COUNT(DISTINCT CASE WHEN batch > 0 THEN event_id || ':' || batch END)"
        with self._database.reading() as connection:
            return {
                "create_calendar_event": count(connection, "COUNT(*)", "events"),
                "cancel_calendar_event": count(connection, "SUM(cancelled)", "events"),
                "reschedule_calendar_event": count(connection, "SUM(moved)", "events"),
                "add_calendar_event_participants": count(connection, later, "participants"),
            }

    @tool(idempotent=True)
    def get_current_day(self) -> str:
        """Return today's date, 'YYYY-MM-DD'."""
        return self._database.setting("today")

    @tool(idempotent=True)
    def search_calendar_events(self, query: str, date: str | None = None) -> list[Record]:
        """Return the events with the query in their title or description, on one day if a date is given."""
        text = require_query(query, "query")
        day = "" if date is None else require_day(date, "date")
        found = self._events(day)
        return [event for event in found if text in f"{event['title']}\n{event['description']}".casefold()]

    @tool(idempotent=True)
    def get_day_calendar_events(self, day: str) -> list[Record]:
        """Return the events of one day ('YYYY-MM-DD')."""
        return self._events(require_day(day, "day"))

    @tool
    def create_calendar_event(
        self,
        title: str,
        start_time: str,
        end_time: str,
        description: str = "",
        participants: list[str] | None = None,
    ) -> Record:
        """Create an event, times as 'YYYY-MM-DD HH:MM', and invite the participants."""
        name, text = require_line(title, "title"), require_body(description, "description")
        start, end = _span(start_time, end_time, "end_time")
        asked = [] if participants is None else require_addresses(participants, "participants")
        owner = self._database.setting("owner")
        with self._database.writing() as connection:
            cursor = connection.execute(
                "INSERT INTO events (title, description, start_time, end_time) VALUES (?, ?, ?, ?)",
                (name, text, start, end),
            )
            assert cursor.lastrowid is not None
            _invite(connection, cursor.lastrowid, (owner, *asked), batch=0)
            details = {"title": name, "start_time": start, "end_time": end, "participants": asked}
            record(connection, "create_calendar_event", cursor.lastrowid, **details)
            return _event(connection, cursor.lastrowid)

    @tool
    def cancel_calendar_event(self, event_id: str) -> Record:
        """Cancel an event."""
        number = require_id(event_id, "event_id")
        with self._database.writing() as connection:
            event = _event(connection, number)
            connection.execute("UPDATE events SET cancelled = 1 WHERE id = ?", (number,))
            record(connection, "cancel_calendar_event", number, title=event["title"])
        return event

    @tool
    def reschedule_calendar_event(self, event_id: str, new_start_time: str, new_end_time: str | None = None) -> Record:
        """Move an event, times as 'YYYY-MM-DD HH:MM'; without a new end it stays as long as it was."""
        number = require_id(event_id, "event_id")
        with self._database.writing() as connection:
            event = _event(connection, number)
            if new_end_time is None:
                new_end_time = _same_length(event, new_start_time)
            start, end = _span(new_start_time, new_end_time, "new_end_time")
            connection.execute(
                "UPDATE events SET start_time = ?, end_time = ?, moved = moved + 1 WHERE id = ?",
                (start, end, number),
            )
            record(connection, "reschedule_calendar_event", number, start_time=start, end_time=end)
            return _event(connection, number)

    @tool
    def add_calendar_event_participants(self, event_id: str, participants: list[str]) -> Record:
        """Invite more participants to an event."""
        number, asked = require_id(event_id, "event_id"), require_addresses(participants, "participants")
        with self._database.writing() as connection:
            event = _event(connection, number)
            new = [email for email in asked if email not in _participants(connection, number)]
            if not new:
                raise ValueError(f"participants take part in {event['title']!r} already, got {shown(asked)}")
            latest = connection.execute("SELECT MAX(batch) FROM participants WHERE event_id = ?", (number,)).fetchone()
            _invite(connection, number, new, batch=latest[0] + 1)
            record(connection, "add_calendar_event_participants", number, participants=new)
            return _event(connection, number)

    def _events(self, day: str) -> list[Record]:
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT id FROM events WHERE NOT cancelled AND start_time LIKE ? || '%' ORDER BY start_time, id",
                (day,),
            ).fetchall()
            return [_event(connection, row["id"]) for row in rows]


def _event(connection: sqlite3.Connection, number: int) -> Record:
    row = connection.execute("SELECT * FROM events WHERE id = ? AND NOT cancelled", (number,)).fetchone()
    if row is None:
        raise ValueError(f"event_id must be the id of an event, got {shown(str(number))}")
    names = ("title", "description", "start_time", "end_time")
    known = {name: row[name] for name in names}
    return {"id": str(number), **known, "participants": _participants(connection, number)}


def _participants(connection: sqlite3.Connection, number: int) -> list[str]:
    rows = connection.execute("SELECT email FROM participants WHERE event_id = ? ORDER BY batch, rowid", (number,))
    return [row["email"] for row in rows]


def _invite(connection: sqlite3.Connection, number: int, emails: Iterable[str], *, batch: int) -> None:
    rows = [(number, email, batch) for email in dict.fromkeys(emails)]
    connection.executemany("INSERT INTO participants VALUES (?, ?, ?)", rows)


def _span(start: object, end: object, end_name: str) -> tuple[str, str]:
    start_name = end_name.replace("end", "start")
    begins, ends = require_moment(start, start_name), require_moment(end, end_name)
    if ends <= begins:
        raise ValueError(f"{end_name} must be after {start_name}, got {shown(end)}")
    return moment_text(begins), moment_text(ends)


def _same_length(event: Record, new_start_time: object) -> str:
    begins, ends = (_known(event[name]) for name in ("start_time", "end_time"))
    return moment_text(require_moment(new_start_time, "new_start_time") + (ends - begins))


def _known(value: object) -> datetime:
    return require_moment(value, "time")
