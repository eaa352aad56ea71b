"""What hangs on a session leaves when the session is ended before its time; what a revoked key has said is taken back.

One session may own thousands of rows, and one key may have said as many things. So they leave a few with each record,
in an order that every replay repeats, and count as gone from the moment of the end: nobody but the session itself can
reach what it owns, and readers of what a key has said ask whether it was revoked. A session's row stays until nothing
names it any more, and its key cannot come back before. Rows that would have ended with the session anyway leave by
their own deadlines, and so they do where it runs out in its time.

What stays: calls that are open get their outcome; delegations of a closed session live on; a published rule's taint
lasts until the session would have run out, for what was delegated in it stays tainted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from processors.calls import attestations, requests
from processors.context import vault
from processors.identity import sessions
from processors.state.tables import SWEEPING, Tables
from schemas import limits
from schemas.rows import SessionRow


def begin(tables: Tables, session_ids: Sequence[bytes], kids: Iterable[bytes] = ()) -> None:
    """Let what hangs on ended sessions begin to leave, and what was said with revoked keys to be taken back.

    The first 64 rows leave at once, so that who ends a session has room for the next one, whoever else ended many.
    """
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


def is_sweeping(tables: Tables) -> bool:
    """Whether something is left that `sweep` would let leave."""
    return bool(tables.sessions.of(SWEEPING) or tables.keys.of(SWEEPING))


def sweep(tables: Tables) -> None:
    """Let rows of ended sessions leave, and take back what revoked keys have said: at most 64 for each record.

    In turn, by the place of the record in the log: whoever ended many sessions does not keep others' from leaving.
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
    """Return the table and key of a row that hangs on a session. The last of a group is the cheapest to remove."""
    own = vault.scope_id(vault.OWN, session_id)
    if (key := vault.scope_key(own)) in tables.scopes.rows and not tables.vault.of(own):
        return "scopes", key
    # A call that waits is ended elsewhere; what else was asked for serves later sessions, if this was not revoked.
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
    """Let one row leave that hangs on a session, or note that none is left."""
    row = tables.sessions.rows[session_id]
    match _hanging(tables, session_id, row):
        case "requests", key:
            requests.close(tables, tables.requests.rows[key], "cancelled")
        case str(table), key:
            tables.by_name[table].delete(key)
        case None:
            tables.sessions.put(session_id, replace(row, sweeping=False))


def _said(tables: Tables, kid: bytes) -> tuple[str, bytes] | None:
    """Return the table and key of something that was said with a key and was not taken back yet."""
    for table, found in (
        ("attestations", tables.attestations.of(("set with", kid))),
        ("persons", tables.persons.of(kid)),
    ):
        if found:
            return table, found[-1]
    return None


def _take_back(tables: Tables, kid: bytes) -> None:
    """Take back one thing that was said with a revoked key, or note that nothing is left."""
    match _said(tables, kid):
        case "attestations", key:
            attestations.take_back(tables, key)
        case str(), key:
            sessions.fall_back(tables, key)
        case None:
            tables.keys.put(kid, replace(tables.keys.rows[kid], sweeping=False))
