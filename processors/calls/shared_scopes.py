"""Shared scopes of the vault pass the taint of their writers on to their readers (docs/mapl.md 14, `not_from`).

Each resource leaves one row for a scope, which ends with the last value there, or with the time that values were given.
Where the writer's payer has no room, one row stands for all scopes in which that payer has a value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256

from processors.calls.origins import ANY_RESOURCE, owner_of
from processors.calls.provenance import behind, kept_until, taint
from processors.identity.delegations import Chain, payer_of
from processors.state.tables import Tables
from schemas.rows import HeardRow, SessionRow

_VAULT = "vault:"  # with a scope, or alone for the row of a payer: no scope has an empty name
_VALUES_LOOKED_AT = 256  # of a scope; beyond them every payer may have a value there


def pass_to_scope(
    tables: Tables, session_id: bytes, session: SessionRow, chain: Chain, scope: str, leaf: bytes, ends: int
) -> None:
    """Let a shared scope taint its readers as its writer is tainted, until `ends` (log time, ms).

    `leaf` is that of the event that writes.
    """
    if not tables.vault.of(scope):
        emptied(tables, scope)
    owners = behind(tables, session_id, session, chain)
    for resource in dict.fromkeys(one for owner in owners for one in tables.heard_index.resources(owner)):
        row = HeardRow(
            owner=_VAULT + scope,
            session_id=b"",
            resource=resource,
            source=leaf,
            reported=False,
            complete=False,
            fingerprints=b"",
            at=tables.now,
            until=ends,
            payer=payer_of(session, chain),
        )
        mark = tables.savepoint()
        put = taint(tables, row)
        if put is not None and tables.heard.full_for(put) is not None:
            tables.undo_to(mark)
            _taint_every_scope(tables, row)
            return


def _taint_every_scope(tables: Tables, row: HeardRow) -> None:
    """Put the row of a payer, which has a place in any case."""
    key = sha256(f"{_VAULT}{row.payer}".encode()).digest()
    known = tables.heard.get(key)
    until = row.until if known is None else max(row.until, known.until)
    tables.heard.put(key, replace(row, owner=_VAULT, resource=ANY_RESOURCE, until=until))


def pass_from_scope(tables: Tables, session_id: bytes, session: SessionRow, scope: str) -> None:
    """Taint a session that reads or lists a shared scope of the vault."""
    if not tables.vault.of(scope):
        emptied(tables, scope)
    owner, until = owner_of(session_id, session), kept_until(tables, session)
    for row in list(_behind_scope(tables, scope)):
        taint(tables, replace(row, owner=owner, session_id=session_id, until=until))


def emptied(tables: Tables, scope: str) -> None:
    """Let the rows of a shared scope leave that has no value, and those of payers that have none anywhere."""
    for key in list(tables.heard.of(("heard by", _VAULT + scope))):
        tables.heard.delete(key)
    for key in list(tables.heard.of(("heard by", _VAULT))):
        shares = tables.heard.shares_of(tables.heard.rows[key])
        if shares and not all(tables.vault.counts.get(share) for share, _ in shares):
            tables.heard.delete(key)


def _behind_scope(tables: Tables, scope: str) -> Iterator[HeardRow]:
    """Yield the rows that taint the readers of a scope."""
    rows = tables.heard.rows
    yield from (rows[key] for key in tables.heard.of(("heard by", _VAULT + scope)))
    wide = tables.heard.of(("heard by", _VAULT))
    values = tables.vault.of(scope) if wide else ()
    payers = {tables.vault.rows[key].payer for key in values[:_VALUES_LOOKED_AT]}
    yield from (rows[key] for key in wide if rows[key].payer in payers or len(values) > _VALUES_LOOKED_AT)
