"""Idempotency keys: of a principal's calls with one key, at most one is executed within a day.

A call that waits for approvals or is allowed uses up its key, even if its tool fails: a tool that failed may have had
half of its effect. A denial, at once or after waiting, gives the key back. A later call under a used key is denied:

    the same resource, parameters and delegation   ALREADY_CALLED, with the first call's id and outcome
    another of the three                           IDEMPOTENCY_CONFLICT, with the first call's id

Deadlines (`deadlines`), intents, prompts and the session may differ, since a second attempt comes later.

Only a digest of the key is kept. A key belongs to the principal that signed, also to a delegate; its row counts toward
the share of the call's payer.
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
    """Check that the key of a call, if it has one, is well formed, and free or used by this very call.

    Raises:
        Refusal: ALREADY_CALLED with `event_id=… outcome=…` of the first call, IDEMPOTENCY_CONFLICT, IDEMPOTENCY_KEY.
    """
    key = asked.body.idempotency_key
    if key is None:
        return
    if not 0 < len(key.encode("utf-8", "surrogatepass")) <= limits.IDEMPOTENCY_KEY_BYTES_MAX:
        want = f"an idempotency key has 1 to {limits.IDEMPOTENCY_KEY_BYTES_MAX} bytes of UTF-8"
        raise Refusal(Reason.IDEMPOTENCY_KEY, want)
    row = tables.idempotency.get(_row_key(asked.principal_id, key))
    # At most 64 rows leave with a record, so a row may still be here after its end.
    if row is not None and tables.now < row.until and row.event != asked.leaf:
        if row.content != _content(asked, parameters_sha256):
            raise Refusal(Reason.IDEMPOTENCY_CONFLICT, f"event_id={row.event_id.hex()}")
        raise Refusal(Reason.ALREADY_CALLED, f"event_id={row.event_id.hex()} outcome={row.outcome}")


def use_up(tables: Tables, asked: Call, parameters_sha256: bytes, outcome: str, paid_by: str) -> None:
    """Reserve the key of a call, if it has one, for a day from now. Requires `check`. Raises Refusal LIMIT_EXCEEDED."""
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
    """Note the outcome of a call at the key that it used up."""
    for key in list(tables.idempotency.of(event)):
        tables.idempotency.put(key, replace(tables.idempotency.rows[key], outcome=outcome))


def give_back(tables: Tables, event: bytes) -> None:
    """Free the key of a denied call."""
    for key in list(tables.idempotency.of(event)):
        tables.idempotency.delete(key)


def _row_key(principal_id: str, key: str) -> bytes:
    return tagged_digest(_TAG, principal_id.encode("utf-8", "surrogatepass"), key.encode("utf-8", "surrogatepass"))


def _content(asked: Call, parameters_sha256: bytes) -> bytes:
    """Return the digest of a call's resource, parameters and delegation."""
    for_whom = asked.event.header.on_behalf_of
    told = [asked.body.resource, parameters_sha256.hex(), for_whom.hex() if for_whom else ""]
    return tagged_digest(_TAG, jcs.canonical(told))
