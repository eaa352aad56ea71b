"""The removal of rows of a session that has ended, and of statements of a revoked key.

One session may own thousands of rows, and one key may have made thousands of statements. So a few leave with each
record, in an order that every replay repeats. All of them count as gone at once: only the session itself can reach its
own rows, and every reader of a statement checks whether its key was revoked. The row of a session stays until no other
row names it, so that its key cannot open another session before. If a session runs out in its time, its rows leave by
their own deadlines, which are not later; those of a session that could have been renewed leave behind it.

Some rows stay: open calls get their outcome; delegations of a closed session live on; the taint of a published rule
lasts until the session would have run out, had it been renewed for as long as it may be (`logins.lasts_until`), because
rights that were delegated in it stay tainted. Rows of what a session heard and of what a person said in it stay as well
(`processors.calls.provenance`): a program could else close its session and open another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from processors.calls import attestations, requests
from processors.context import vault
from processors.identity import offers, sessions
from processors.state.groups import SWEEPING
from processors.state.tables import Tables
from schemas import limits
from schemas.rows import SessionRow
from schemas.words import Status


def begin(tables: Tables, session_ids: Sequence[bytes], kids: Iterable[bytes] = ()) -> None:
    """Mark ended sessions and revoked keys for `sweep`.

    The first 64 rows of the first session leave at once, so that its owner has room for the next session even while
    rows of many other sessions wait.
    """
    offers.end(tables, session_ids)
    for session_id in session_ids:
        row = tables.sessions.rows[session_id]
        if _hanging(tables, session_id, row) is not None:
            tables.sessions.put(session_id, replace(row, sweeping=True))
    for session_id in session_ids[:1]:
        for _ in range(limits.EXPIRED_PER_EVENT_MAX):
            if not tables.sessions.rows[session_id].sweeping:
                break
            _sweep_session(tables, session_id)
    for kid in kids:
        if _said(tables, kid) is not None:
            tables.keys.put(kid, replace(tables.keys.rows[kid], sweeping=True))


def is_held(tables: Tables, session_id: bytes) -> bool:
    """Return True if other rows still name a session that has run out; its own row then stays until `sweep` is done."""
    begin(tables, [session_id])
    return tables.sessions.rows[session_id].sweeping


def is_sweeping(tables: Tables) -> bool:
    """Return True if rows or statements are left for `sweep`."""
    return bool(tables.sessions.of(SWEEPING) or tables.keys.of(SWEEPING))


def sweep(tables: Tables) -> None:
    """Delete rows of ended sessions, and take back statements of revoked keys: at most 64 for each record.

    Sessions take turns, by the audit index of the record, so that an owner of many does not delay the rows of others.
    """
    turn = tables.next_index * limits.EXPIRED_PER_EVENT_MAX
    for at in range(turn, turn + limits.EXPIRED_PER_EVENT_MAX):
        if found := tables.sessions.of(SWEEPING):
            _sweep_session(tables, found[at % len(found)])
        elif found := tables.keys.of(SWEEPING):
            _take_back(tables, found[at % len(found)])
        else:
            return


def _hanging(tables: Tables, session_id: bytes, row: SessionRow) -> tuple[str, bytes] | None:
    """Return the table and key of a row that belongs to a session. The last of a group is the cheapest to remove."""
    own = vault.scope_id(vault.OWN, session_id)
    if (key := vault.scope_key(own)) in tables.scopes.rows and not tables.vault.of(own):
        return "scopes", key
    # A waiting call ends elsewhere. Requests of other calls serve later sessions, unless this session was revoked.
    asked = tables.requests.of(("by", session_id)) if row.revoked else ()
    for table, found in (
        ("attestations", tables.attestations.of(session_id)),
        ("vault", tables.vault.of(own)),
        ("prompts", tables.prompts.of(session_id)),
        ("cells", tables.cells.of(session_id)),
        ("requests", asked),
    ):
        if found:
            return table, found[-1]
    return None


def _sweep_session(tables: Tables, session_id: bytes) -> None:
    """Remove one row that belongs to a session, or note that none is left."""
    row = tables.sessions.rows[session_id]
    match _hanging(tables, session_id, row):
        case "requests", key:
            requests.close(tables, tables.requests.rows[key], Status.CANCELLED)
        case str(table), key:
            tables.by_name[table].delete(key)
        case None:
            tables.sessions.put(session_id, replace(row, sweeping=False))


def _said(tables: Tables, kid: bytes) -> tuple[str, bytes] | None:
    """Return the table and key of a statement that was made with a key and is not taken back yet."""
    for table, found in (
        ("attestations", tables.attestations.of(("set with", kid))),
        ("persons", tables.persons.of(kid)),
    ):
        if found:
            return table, found[-1]
    return None


def _take_back(tables: Tables, kid: bytes) -> None:
    """Take back one statement of a revoked key, or note that none is left."""
    match _said(tables, kid):
        case "attestations", key:
            attestations.take_back(tables, key)
        case str(), key:
            sessions.fall_back(tables, key)
        case None:
            tables.keys.put(kid, replace(tables.keys.rows[kid], sweeping=False))
