"""The work bucket: a principal pays for costly work of the fold, and waits while its bucket is empty.

One call may spend 10^7 units (docs/mapl.md 1), and a denied call charges no rate limit: without a price of its own it
could be repeated at once. So each principal has a bucket of units (docs/mapl.md 9), run by the generic cell rate
algorithm and the clock of rate limits. It fills by one unit each microsecond, at most a twentieth of a core, and holds
two of the largest calls.

A call pays for its units beyond `WORK_FREE_UNITS`, unless it was allowed, brought no documents or verdicts, and no
verifier read its texts: then only published policies made it expensive. A question, or an operation of the vault, pays
for the length of its answer. While the bucket is empty, the principal's calls and questions are refused LIMIT_EXCEEDED
before they are judged, with the time to wait. No other principal is affected.
"""

from __future__ import annotations

from processors.effects import Effects
from processors.policy.limits import KEY_BYTE_UNITS, KEY_NODE_UNITS, WORK_UNITS_MAX
from processors.policy.parameter_checks import nodes_in
from processors.policy.rates import idle_at, retry_after_ms, standing
from processors.proof.jcs import JSONValue
from processors.refusal import Refusal
from processors.state.tables import Tables
from schemas import limits
from schemas.reasons import Reason
from schemas.rows import WorkRow


def wait_ms(tables: Tables, principal_id: str) -> int:
    """Return how long (ms) a principal's bucket stays empty, 0 if it is not empty."""
    if not tables.work.rows:
        return 0  # the usual case
    now = tables.appended * 1000
    return max(0, retry_after_ms(_arrival(tables, principal_id, now) - limits.WORK_BUCKET_UNITS - now))


def _arrival(tables: Tables, principal_id: str, now: int) -> int:
    row = tables.work.get(principal_id.encode())
    return 0 if row is None else standing(row.arrival, now, WORK_UNITS_MAX, limits.WORK_BUCKET_UNITS)


def told(wait: int) -> str:
    """Return the detail for the caller of a call that was not judged; `wait` is in milliseconds."""
    return f"retry_after_ms={wait}"


def check_not_empty(tables: Tables, principal_id: str) -> None:
    """Raise Refusal LIMIT_EXCEEDED while a principal's bucket is empty."""
    wait = wait_ms(tables, principal_id)
    if wait:
        raise Refusal(Reason.LIMIT_EXCEEDED, told(wait))


def note(effects: Effects, principal_id: str, spent: int) -> None:
    """Note the units that were spent for a principal. They are paid even if the record is refused."""
    units = min(spent, WORK_UNITS_MAX) - limits.WORK_FREE_UNITS
    if units > 0:
        effects.spent[principal_id] = effects.spent.get(principal_id, 0) + units


def note_answer(effects: Effects, principal_id: str, told: JSONValue, payload: bytes) -> None:
    """Note the cost of an answer: a question of 100 bytes may have an answer of some 100,000 bytes."""
    note(effects, principal_id, KEY_NODE_UNITS * nodes_in(told) + KEY_BYTE_UNITS * len(payload))


def pay(tables: Tables, effects: Effects) -> None:
    """Charge the units that were noted. Called once for a record, after the effects of a refusal are undone."""
    now = tables.appended * 1000
    for principal_id, units in effects.spent.items():
        arrival = max(now, _arrival(tables, principal_id, now)) + units
        row = WorkRow(arrival=arrival, until=idle_at(tables.now, arrival - now))
        tables.work.put(principal_id.encode(), row)
