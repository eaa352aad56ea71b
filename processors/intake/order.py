"""Protection against replays: an event counts once, in the order of its key, and near the time it was issued.

`now` is log time, so folding the log a year later gives the same outcome. The state is one row for each key. It is made
from the log, survives every restart, and leaves only when the events that it guards against have become STALE.
"""

from __future__ import annotations

from processors.refusal import Refusal
from processors.state.tables import Tables
from schemas import limits
from schemas.reasons import Reason
from schemas.records import Header
from schemas.rows import SequenceRow


def check_order(tables: Tables, kid: bytes, header: Header, leaf: bytes) -> None:
    """Accept the event as the newest of its key and store its sequence number.

    Raises:
        Refusal: DUPLICATE, EQUIVOCATION, REPLAYED or FUTURE; then nothing is stored.
    """
    last = tables.sequences.get(kid)
    if last is not None and header.seq <= last.seq:
        if header.seq < last.seq:
            raise Refusal(Reason.REPLAYED)
        raise Refusal(Reason.DUPLICATE if leaf == last.leaf else Reason.EQUIVOCATION)
    now = tables.now
    if header.issued_at > now + limits.ISSUED_AHEAD_MS_MAX or header.seq > (now + limits.SEQ_AHEAD_MS_MAX) * 1000:
        ahead = f"issued_at is {header.issued_at - now} ms and seq {header.seq // 1000 - now} ms ahead of log time"
        raise Refusal(Reason.FUTURE, f"{ahead}: check the sender's clock")
    tables.sequences.put(kid, SequenceRow(seq=header.seq, leaf=leaf))
