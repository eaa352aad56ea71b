r"""Shares: a row counts for the principal that pays for it, and no payer can fill a table alone.

Each row that a principal without an admin's rights can cause names its payer, in two levels. The *holder* is the
principal that acts; for a call on behalf of a person it is the person at the root of the delegation. The *sponsor*
vouches for the holder: the enrolment key that registered it, or the bridge that opened a session for a person of a
file. For the principals of an identity provider it is that provider, under a digest of its issuer: so many providers
may have one bridge, each with a share of its own, and a thief of the bridge's key has the shares of all. A holder that
an admin registered has no sponsor. A *guest* is another principal that acts within a holder's share: a delegate that
calls on behalf of a person, together with those to which it delegates further; and a tool for which a call is open.

A sponsor, or a holder without one, has at most a quarter of a table; a holder with a sponsor has a quarter of the
sponsor's share. A guest has a quarter of every share in which it acts, and a quarter of the table in all. So no
principal can fill a table that others need, and the holders of one key together fill that key's quarter only.

A row holds its payer as the text holder "\n" hex kid of the sponsor or nothing "\n" guest or nothing; "" has no share.
`shares_of` returns (name of a share, divisor of the table's bound), and the row counts for each:

    payer("bot")                        (("bot\n", 4),)
    payer("ann", b"\xab")               (("\nab", 4), ("ann\nab\n", 16))
    payer("ann", guest="bot")           (("ann\n", 4), ("\n\nbot", 4), ("ann\n\nbot", 16))
"""

from __future__ import annotations

import functools
from typing import TypeVar

from processors.refusal import Refusal
from processors.state.table import Shares, Table
from schemas import limits
from schemas.reasons import Reason

R = TypeVar("R")

_BETWEEN = "\n"  # not allowed in a name
_NAME_SHOWN = 48


def payer(holder: str, sponsor: bytes = b"", guest: str = "") -> str:
    """Return the text of a payer, as a row holds it. A holder is not a guest of its own share."""
    return _BETWEEN.join((holder, sponsor.hex(), guest if guest != holder else ""))


@functools.lru_cache(maxsize=4096)
def with_guest(paid_by: str, guest: str) -> str:
    """Return a payer with `guest` as its guest. A row of an older version has no payer (""), and gets none here."""
    if not paid_by:
        return ""
    holder, sponsor, _ = paid_by.split(_BETWEEN)
    return payer(holder, bytes.fromhex(sponsor), guest)


def sponsor_in(paid_by: str) -> bytes:
    """Return the sponsor of a payer, b"" for none."""
    return bytes.fromhex(paid_by.split(_BETWEEN)[1]) if paid_by else b""


@functools.lru_cache(maxsize=8192)
def shares_of(paid_by: str, guest: str = "") -> Shares:
    """Return the shares that a row of this payer counts for; `guest` is a second guest that acts within them."""
    if not paid_by:
        return ()
    holder, sponsor, acting = paid_by.split(_BETWEEN)
    own = [(f"{holder}{_BETWEEN}{sponsor}", limits.SHARE_PART)]
    if sponsor:
        own = [(_BETWEEN + sponsor, limits.SHARE_PART), (own[0][0], limits.SHARE_PART * limits.WITHIN_PART)]
    found = list(own)
    if sponsor:  # under the text of the payer, which its rows hold anyway: there may be 100,000 of them
        found[1] = (paid_by if not acting else payer(holder, bytes.fromhex(sponsor)), own[1][1])
    for one in dict.fromkeys((acting, guest)):
        if one and one != holder:
            own = [(f"{share}{_BETWEEN}{one}", part * limits.WITHIN_PART) for share, part in own]
            found += [(f"{_BETWEEN}{_BETWEEN}{one}", limits.SHARE_PART), *own]
    return tuple(found)


@functools.lru_cache(maxsize=1024)
def shares_of_sponsor(kid: bytes) -> Shares:
    """Return the share of a sponsor alone: for tables with at most one row for each holder."""
    return ((_BETWEEN + kid.hex(), limits.SHARE_PART),)


def check_room(table: Table[R], row: R) -> None:
    """Check a row that was just put. Raises Refusal LIMIT_EXCEEDED, naming the full share, or the full table."""
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
    whose = holder[:_NAME_SHOWN] or (f"all holders of key or provider {sponsor[:8]}" if sponsor else "")
    if guest:
        whose = f"{guest[:_NAME_SHOWN]} for {whose}" if whose else guest[:_NAME_SHOWN]
    return f"the share of {whose} is full: {most}"
