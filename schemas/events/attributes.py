"""Attributes of principals, and the requirements of policies on approvers.

The names of attributes are the fields of `Attributes`; there are no others. The rules on their values stand in
`processors.identity.attributes`.
"""

from __future__ import annotations

from dataclasses import replace

from schemas.record import record

TEXTS = ("company", "business_unit", "team", "user", "email", "clearance")
LISTS = ("roles", "groups", "issuers", "attests", "subjects", "offers")
NAMES = (*TEXTS, *LISTS)
READ_BY_POLICIES = (*TEXTS, "roles", "groups")


@record
class Attributes:
    """The attributes of a principal, such as team and roles. None and () mean that there is no such attribute."""

    user: str | None = None
    company: str | None = None
    business_unit: str | None = None
    team: str | None = None
    roles: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    email: str | None = None
    clearance: str | None = None
    issuers: tuple[str, ...] = ()
    attests: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    offers: tuple[str, ...] = ()


@record
class RequiredBy:
    """The requirements of one policy on the approvers of a key: criteria, quorum, uses, and life in milliseconds."""

    policy: str
    criteria: tuple[str, ...]
    quorum: int
    one_time: bool
    max_uses: int | None = None
    time_to_live_ms: int | None = None


@record
class ApproverLimits:
    """The limits of a registered approver.

    `scope` has the calls, as the scope of a delegation in JSON, `keys` patterns of attestation keys, and `speaks_for`
    patterns of the persons that it may speak for. With `once_only` its yes serves one call.
    """

    scope: str | None = None
    keys: tuple[str, ...]
    once_only: bool
    speaks_for: tuple[str, ...]


NONE = Attributes()

_BYTES_PER_TEXT = 4  # so that empty texts are not free
_MEMORY_PER_TEXT = 80  # bytes of a short text's object and of the reference to it


def read_by_policies(attributes: Attributes) -> Attributes:
    """Return the attributes that policies read, without those that only give a program its duties."""
    return replace(attributes, **{name: getattr(NONE, name) for name in NAMES if name not in READ_BY_POLICIES})


def texts_of(attributes: Attributes) -> list[str]:
    """Return every text in attributes, those of lists included."""
    a = attributes
    texts = [one for one in (a.company, a.business_unit, a.team, a.user, a.email, a.clearance) if one is not None]
    return [*texts, *a.roles, *a.groups, *a.issuers, *a.attests, *a.subjects, *a.offers]


def size_of(attributes: Attributes) -> int:
    """Return the size of attributes in bytes, as bounds count it: each text in UTF-8, and 4 bytes with it."""
    return _bytes_of(attributes, _BYTES_PER_TEXT)


def weight_of(attributes: Attributes) -> int:
    """Return about how many bytes of memory attributes take, for bounds of tables; short texts take the most."""
    return _bytes_of(attributes, _MEMORY_PER_TEXT)


def _bytes_of(attributes: Attributes, per_text: int) -> int:
    texts = texts_of(attributes)
    return len("".join(texts).encode("utf-8", "surrogatepass")) + per_text * len(texts)
