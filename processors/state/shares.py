r"""Who pays for a row: nobody's share of a table is everybody's.

A row that somebody without an admin's rights can cause names its payer, in two levels. The *holder* is the principal
that acts; for a call in somebody's name the person at the root of the delegation. The *sponsor* is the key that vouches
for the holder: the enrolment key that registered it, or the bridge that opened the person's session. Whom an admin
registered vouches for itself. Somebody else may act within a holder's share, as a *guest*: a delegate that calls in a
person's name, with all to whom it hands that on, and a tool for which a call is open.

A sponsor, or a holder without one, has at most a quarter of a table; a holder among others of its sponsor a quarter of
that; a guest a quarter of every share in which it acts, and a quarter of the table in all. So nobody alone can fill
what others need, and one key's crowd fills its own quarter.

Payer in a row: holder "\n" hex kid of the sponsor or nothing "\n" guest or nothing; "" counts for nobody.
"""

from __future__ import annotations

import functools
from typing import TypeVar

from processors.refusal import Refusal
from processors.state.table import Shares, Table
from schemas import limits
from schemas.reasons import Reason

R = TypeVar("R")

_BETWEEN = "\n"  # no name holds it
_NAME_SHOWN = 48


def payer(holder: str, sponsor: bytes = b"", guest: str = "") -> str:
    """Return what a row says of who pays. A holder is no guest of its own."""
    return _BETWEEN.join((holder, sponsor.hex(), guest if guest != holder else ""))


@functools.lru_cache(maxsize=4096)
def with_guest(paid_by: str, guest: str) -> str:
    """Return the payer of what somebody else does within a payer's share. Rows of older versions name nobody."""
    if not paid_by:
        return ""
    holder, sponsor, _ = paid_by.split(_BETWEEN)
    return payer(holder, bytes.fromhex(sponsor), guest)


@functools.lru_cache(maxsize=8192)
def shares_of(paid_by: str, guest: str = "") -> Shares:
    """Return the shares that a row counts for, by its payer; `guest` is one that acts in what the payer names."""
    if not paid_by:
        return ()
    holder, sponsor, acting = paid_by.split(_BETWEEN)
    own = [(f"{holder}{_BETWEEN}{sponsor}", limits.SHARE_PART)]
    if sponsor:
        own = [(_BETWEEN + sponsor, limits.SHARE_PART), (own[0][0], limits.SHARE_PART * limits.WITHIN_PART)]
    found = list(own)
    for one in dict.fromkeys((acting, guest)):
        if one and one != holder:
            own = [(f"{share}{_BETWEEN}{one}", part * limits.WITHIN_PART) for share, part in own]
            found += [(f"{_BETWEEN}{_BETWEEN}{one}", limits.SHARE_PART), *own]
    return tuple(found)


@functools.lru_cache(maxsize=1024)
def shares_of_sponsor(kid: bytes) -> Shares:
    """Return the share of a key alone: for rows of which each holder has one."""
    return ((_BETWEEN + kid.hex(), limits.SHARE_PART),)


def check_room(table: Table[R], row: R) -> None:
    """Check a row that was just put. Raises Refusal LIMIT_EXCEEDED, saying whose share is full, or that all is."""
    full = table.full_for(row)
    if full is not None:
        raise Refusal(Reason.LIMIT_EXCEEDED, _told(table, *full))


def _told(table: Table[R], share: str, part: int) -> str:
    rows, size = table.room
    bounds = [f"{rows // part or 1} rows"] if rows < limits.FOR_EVER_MS else []
    bounds += [f"{size // part} bytes"] if size < limits.FOR_EVER_MS else []
    most = f"at most {' and '.join(bounds)} of {table.name}"
    if not share:
        return f"the tenant is full: it holds {most}"
    holder, sponsor, guest = (*share.split(_BETWEEN), "")[:3]
    whose = holder[:_NAME_SHOWN] or (f"all that key {sponsor[:8]} vouches for" if sponsor else "")
    if guest:
        whose = f"{guest[:_NAME_SHOWN]} for {whose}" if whose else guest[:_NAME_SHOWN]
    return f"the share of {whose} is full: {most}"
