"""The words for outcomes, statuses, roles, kinds and stages: each is spelt here, and only here.

A member is its text: it is compared, written and shown as the bare word. So a row that was just made and the same row
read back from its bytes are equal. Where JSON is made of it for signing (`processors/proof/jcs.py`), give `str(word)`.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Self


class Word(StrEnum):
    """A word of a closed list."""

    __repr__ = str.__repr__  # details of refusals quote words, and are on the wire


class Outcome(Word):
    """How a record ended, in decisions, results and audit entries."""

    ALLOWED = "allowed"  # a decision
    PENDING = "pending"  # a decision: the call waits for people
    DENIED = "denied"  # a decision
    ACCEPTED = "accepted"  # any other record that had its effect
    REFUSED = "refused"  # the record had no effect
    SKIPPED = "skipped"  # an administrator ruled that a record which cannot be read is passed over
    OK = "ok"  # a report: the tool ran and gave a result
    FAILED = "failed"  # a report: the tool ran and raised an error
    UNKNOWN = "unknown"  # a report, or its absence: the tool may or may not have run


class NotedOutcome(Word):
    """How an application says that its own action ended (`ApplicationEventLogged`)."""

    SUCCESS = "success"
    FAILURE = "failure"
    DENIED = "denied"


class Status(Word):
    """What a session, attestation, request, grant, delegation or key of the vault is at a moment."""

    OPEN = "open"
    ENDED = "ended"
    ACTIVE = "active"
    REVOKED = "revoked"
    CONSUMED = "consumed"
    EXPIRED = "expired"  # told by the clock: no event says so
    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    SET = "set"
    DELETED = "deleted"


class Role(Word):
    """What a key may do (`processors/intake/authority.py`), and who speaks in a session."""

    ROOT = "root"
    ADMIN = "admin"
    MONITOR = "monitor"
    ENROLMENT = "enrolment"
    BRIDGE = "bridge"
    APPROVER = "approver"
    ATTESTER = "attester"
    AGENT = "agent"
    SERVICE = "service"
    TOOL = "tool"
    SESSION = "session"  # of a session's own key
    USER = "user"  # of a session that a bridge opened for a person


class AttestationKind(Word):
    """What a row of the attestations' view is about."""

    RECORD = "record"
    REQUEST = "request"
    GRANT = "grant"


class RegistryKind(Word):
    """The first part of a key on the registry topic, `kind/hex`."""

    TENANT = "tenant"
    KEY = "key"
    TOOLS = "tools"
    REVOKED = "revoked"
    SESSION = "session"
    ENDED = "ended"


class Stage(IntEnum):
    """The stages of a decision (docs/mapl.md 12), in their order; of two alternative denials the further one is told.

    `number` is how people and JSON write the stage, `label` what it asks.
    """

    number: float
    label: str

    def __new__(cls, number: float, label: str) -> Self:
        """Make the next stage in order."""
        order = len(cls.__members__)
        made = int.__new__(cls, order)
        made._value_, made.number, made.label = order, number, label
        return made

    RESOLUTION = 0, "before any policy was asked"
    VALIDITY = 1, "validity"
    DENIED_RESOURCES = 2, "denied resources"
    RESOURCES = 3, "resources"
    GRANT = 4, "a grant"
    ROLES = 5, "roles"
    PARAMETERS = 6, "parameters"
    DENIED_PARAMETERS = 7, "denied parameters"
    CONDITIONS = 8, "conditions that forbid"
    SEQUENCE = 8.5, "rules over several calls"
    RATE = 9, "rate limits"
    ATTESTATIONS = 10, "attestations"
    APPROVALS = 11, "approvals"
    OUTCOME = 12, "all passed"
