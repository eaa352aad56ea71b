"""Replay and order: an event counts once, in its key's own order, and near the time it says.

`now` is log time, so a replay a year later judges alike. The state is one row for each key; it is the log's, survives
every restart, and leaves only after the events it guards against have grown stale.
"""

from __future__ import annotations

from processors.refusal import Refusal
from processors.state.tables import Tables
from schemas import limits
from schemas.reasons import Reason
from schemas.records import Header
from schemas.rows import SequenceRow


def check_order(tables: Tables, kid: bytes, header: Header, leaf: bytes) -> None:
    """Accept the event as the newest of its key and note it.

    Raises:
        Refusal: DUPLICATE, EQUIVOCATION, REPLAYED or FUTURE; then nothing is noted.
    """
    last = tables.sequences.get(kid)
    if last is not None and header.seq <= last.seq:
        if header.seq < last.seq:
            raise Refusal(Reason.REPLAYED)
        raise Refusal(Reason.DUPLICATE if leaf == last.leaf else Reason.EQUIVOCATION)
    now = tables.now
    if header.issued_at > now + limits.ISSUED_AHEAD_MS_MAX or header.seq > (now + limits.SEQ_AHEAD_MS_MAX) * 1000:
        raise Refusal(Reason.FUTURE, f"issued {header.issued_at - now} ms ahead")
    tables.sequences.put(kid, SequenceRow(seq=header.seq, leaf=leaf))
