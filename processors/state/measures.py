"""Measures of rows: deadlines, weights in bytes, and the shares that a row counts for.

Each is a function of the row alone; `processors.state.table` follows it with every write and every undo.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TypeVar

from processors.state.groups import OVER
from processors.state.shares import shares_of
from processors.state.table import Shares
from schemas import limits
from schemas.events.attributes import Attributes, weight_of
from schemas.rows import ApprovalGiven, AttestationRow, KeyRow, OfferRow, PendingRow, RequestRow, SessionRow, VaultRow

V = TypeVar("V", bound=str | bytes | tuple[str, ...] | None)

_ALIKE = ("company", "business_unit", "team", "clearance", "roles", "groups")
_TEXT_MAX = 64  # characters of a text, or bytes of a kid, that is looked for among equal ones
_LISTED_MAX, _LISTED_CHARS_MAX = 8, 256  # texts of a list that is looked for whole, and their characters


def session_leaves_at(row: SessionRow) -> int:
    """Return the log time (ms) at which the row of a session leaves."""
    # Its key must not be registered again while rows name it.
    return limits.FOR_EVER_MS if row.sweeping else row.expires_at + limits.SESSION_LINGER_MS


def weight_of_session(row: SessionRow) -> int:
    """Return about how many bytes of memory a session takes, for the bound of its table."""
    actors = sum(len(one.encode("utf-8", "surrogatepass")) for one in row.actors)
    renewed = 0 if row.renewed is None else len(row.renewed.event) + len(row.renewed.proof)
    refs = limits.LOGIN_GROUP_BYTES * ((row.login_ref is not None) + (row.subject_ref is not None))
    return limits.SESSION_MEMORY_BYTES + weight_of(row.attributes) + actors + renewed + refs


def lean_session(row: SessionRow) -> SessionRow:
    """Return an equal row; values that many sessions of providers have alike are one object in memory."""
    if not row.issuer:
        return row
    opened = row.opened
    return replace(
        row,
        opened_by=_alike(row.opened_by),
        issuer=_alike(row.issuer),
        opened=None if opened is None else replace(opened, kid=_alike(opened.kid)),
        attributes=lean_attributes(row.attributes),
    )


def lean_attributes(a: Attributes) -> Attributes:
    """Return equal attributes with the values that many have alike as one object; lean ones as they are."""
    lean = replace(
        a,
        company=_alike(a.company),
        business_unit=_alike(a.business_unit),
        team=_alike(a.team),
        clearance=_alike(a.clearance),
        roles=_alike_texts(a.roles),
        groups=_alike_texts(a.groups),
    )
    return a if all(getattr(a, name) is getattr(lean, name) for name in _ALIKE) else lean


def _alike_texts(texts: tuple[str, ...]) -> tuple[str, ...]:
    return _alike(texts) if len(texts) <= _LISTED_MAX and sum(map(len, texts)) <= _LISTED_CHARS_MAX else texts


def _alike(value: V) -> V:
    """Return the object that stands for all equal ones; the value itself where it is long, or not seen lately."""
    known: V = _seen(value) if value is None or len(value) <= _TEXT_MAX else value
    return known


@lru_cache(maxsize=8192)
def _seen(value: V) -> V:
    return value


def key_ends_at(row: KeyRow) -> int:
    """Return the log time (ms) at which a key ends; its row stays."""
    return limits.FOR_EVER_MS if row.spent or row.expires_at is None else row.expires_at


def weight_of_request(row: RequestRow) -> int:
    """Return the bytes of a request: its call, the opening of its session, and its approvals."""
    opened = 0 if row.opened is None else len(row.opened.event)
    masked = 0 if row.masked is None else len(row.masked.encode())
    return len(row.call.event) + opened + masked + weight_of_given(row.approvals)


def weight_of_pending(row: PendingRow) -> int:
    """Return the bytes of a waiting call: its event, and the verdicts that came for it."""
    return len(row.call.event) + sum(len(one.event) + len(one.proof) for one in row.verdicts)


def shares_of_request(row: RequestRow) -> Shares:
    """Return the shares of a request. A closed one has shares of its own, and takes no room from open ones."""
    shares = shares_of(row.payer)
    return tuple((f"{OVER} {share}", part) for share, part in shares) if row.closed else shares


def shares_of_attestation(row: AttestationRow) -> Shares:
    """Return the shares of an attestation. A tool is a guest of its caller; a bridge is not a guest of its persons."""
    return shares_of(row.payer, "" if row.setter.startswith("bridge:") else row.by)


def weight_of_offer(row: OfferRow) -> int:
    """Return about how many bytes of memory an offer takes: as it was signed, and decoded."""
    paths = sum(
        len(one.prompts) + len(one.body_paths) + len(one.opaque_paths) + len(one.maskable_paths) for one in row.tools
    )
    return 2 * len(row.offered.event) + limits.OFFERED_TOOL_BYTES * len(row.tools) + limits.OFFERED_PATH_BYTES * paths


def weight_of_given(given: Sequence[ApprovalGiven]) -> int:
    """Return the bytes of approvals."""
    return sum(len(one.signed.event) + weight_of(one.attributes) for one in given)


def weight_of_value(row: VaultRow) -> int:
    """Return the bytes of a vault value and of the signed events that prove it."""
    signed = (one for one in (row.written, row.opened) if one is not None)
    return len(row.value.encode()) + sum(len(one.event) + len(one.proof) for one in signed)
