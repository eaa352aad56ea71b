"""Idempotency keys: of a principal's calls with one key at most one is ever executed, for a day.

A key is used up by a call that waits for people or is allowed, whatever becomes of it: a tool that failed may have had
half of its effect. A denial, at once or of a call that waited, gives the key back. What comes under a key that is used
up is denied: with ALREADY_CALLED and the first call's id and outcome where it asks for the same, and with
IDEMPOTENCY_CONFLICT where it asks for something else, or for somebody else. A time of its own (`deadlines`), intents
and prompts may differ: a second attempt comes later, and from another session.

Only a digest of the key is kept. A key is the principal's that signed, a delegate's too; its row counts as its call.
"""

from __future__ import annotations

from dataclasses import replace

from processors.calls.call import Call
from processors.proof import jcs
from processors.proof.signing import tagged_digest
from processors.refusal import Refusal
from processors.state.shares import check_room
from processors.state.tables import Tables
from schemas import limits
from schemas.reasons import Reason
from schemas.rows import IdempotencyRow

_TAG = b"macaw/idempotency/v1\n"


def check(tables: Tables, asked: Call, parameters_sha256: bytes) -> None:
    """Raise Refusal unless the call has no key, or its key is free or its own.

    ALREADY_CALLED with `event_id=… outcome=…` of the first call, IDEMPOTENCY_CONFLICT, IDEMPOTENCY_KEY.
    """
    key = asked.body.idempotency_key
    if key is None:
        return
    if not 0 < len(key.encode("utf-8", "surrogatepass")) <= limits.IDEMPOTENCY_KEY_BYTES_MAX:
        raise Refusal(Reason.IDEMPOTENCY_KEY, f"want 1 to {limits.IDEMPOTENCY_KEY_BYTES_MAX} bytes")
    row = tables.idempotency.get(_row_key(asked.principal_id, key))
    # At most 64 rows leave with a record: one that is over may be here still.
    if row is not None and tables.now < row.until and row.event != asked.leaf:
        if row.content != _content(asked, parameters_sha256):
            raise Refusal(Reason.IDEMPOTENCY_CONFLICT, f"event_id={row.event_id.hex()}")
        raise Refusal(Reason.ALREADY_CALLED, f"event_id={row.event_id.hex()} outcome={row.outcome}")


def use_up(tables: Tables, asked: Call, parameters_sha256: bytes, outcome: str, paid_by: str) -> None:
    """Let a call have its key, if it has one, for a day from now. Requires `check`. Raises Refusal LIMIT_EXCEEDED."""
    key = asked.body.idempotency_key
    if key is None:
        return
    row = IdempotencyRow(
        principal_id=asked.principal_id,
        content=_content(asked, parameters_sha256),
        event=asked.leaf,
        event_id=asked.event.header.event_id,
        outcome=outcome,
        until=tables.now + limits.IDEMPOTENCY_KEY_MS,
        payer=paid_by,
    )
    tables.idempotency.put(_row_key(asked.principal_id, key), row)
    check_room(tables.idempotency, row)


def note_outcome(tables: Tables, event: bytes, outcome: str) -> None:
    """Keep how a call ended with the key that it used up."""
    for key in list(tables.idempotency.of(event)):
        tables.idempotency.put(key, replace(tables.idempotency.rows[key], outcome=outcome))


def give_back(tables: Tables, event: bytes) -> None:
    """Let the key of a call that was denied be free again."""
    for key in list(tables.idempotency.of(event)):
        tables.idempotency.delete(key)


def _row_key(principal_id: str, key: str) -> bytes:
    return tagged_digest(_TAG, principal_id.encode("utf-8", "surrogatepass"), key.encode("utf-8", "surrogatepass"))


def _content(asked: Call, parameters_sha256: bytes) -> bytes:
    """Return the digest of what is asked, and for whom."""
    for_whom = asked.event.header.on_behalf_of
    told = [asked.body.resource, parameters_sha256.hex(), for_whom.hex() if for_whom else ""]
    return tagged_digest(_TAG, jcs.canonical(told))
