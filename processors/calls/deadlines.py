"""Until when a caller wants its call: after that it does not begin, whoever is late.

A call has two times of its own, in log time. `deadline` holds whatever happens. `begin_by` is for as long as the caller
waits for a first answer: a call that people are asked for has given one, and is wanted until its `deadline`. A call
that nobody waits for any more would have its effect behind the caller's back, and once more when the caller asks again.

The fold holds a decision to them, and so does the tool's host, by the caller's own signature.
"""

from __future__ import annotations

from schemas import limits
from schemas.records import InvocationRequested


def ends_at(body: InvocationRequested, *, waited: bool) -> int:
    """Return the log time from which on a call must not begin, FOR_EVER_MS where its caller named none.

    `waited`: people were asked for it first.
    """
    named = (body.deadline, None if waited else body.begin_by)
    return min((at for at in named if at is not None), default=limits.FOR_EVER_MS)
