"""The times of a call after which it must not begin.

A caller may set two, in milliseconds of log time. `deadline` always holds. `begin_by` holds as long as the caller waits
for a first answer: a call that waits for approvals has had one, and then only `deadline` holds. Without these times a
call could have its effect after its caller has given up, and a second time when the caller asks again.

The fold refuses a late decision, and the tool's host a late call; both read the times from the signed event.
"""

from __future__ import annotations

from schemas import limits
from schemas.records import InvocationRequested


def ends_at(body: InvocationRequested, *, waited: bool) -> int:
    """Return the log time (ms) from which on a call must not begin, FOR_EVER_MS if its caller named none.

    `waited` is True for a call that has waited for approvals.
    """
    named = (body.deadline, None if waited else body.begin_by)
    return min((at for at in named if at is not None), default=limits.FOR_EVER_MS)
