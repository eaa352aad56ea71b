"""The words for outcomes, statuses, roles, kinds and stages: each is spelt here, and only here.

A member is a string: it is compared, written and shown as the bare word, so a new row equals the same row read back
from its bytes. For JSON that is signed (`processors/proof/jcs.py`), pass `str(word)`.
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
    SKIPPED = "skipped"  # an admin ruled that the fold passes over a record it cannot read
    OK = "ok"  # a report: the tool ran and gave a result
    FAILED = "failed"  # a report: the tool ran and raised an error
    UNKNOWN = "unknown"  # a report, or its absence: the tool may or may not have run


class NotedOutcome(Word):
    """The outcome of an application's own action, by its own account (`ApplicationEventLogged`)."""

    SUCCESS = "success"
    FAILURE = "failure"
    DENIED = "denied"


class VerifierOutcome(Word):
    """The answer of one verifier."""

    PASS = "pass"  # noqa: S105 - no password
    DENY = "deny"
    ASK = "ask"  # people must approve
    MISSING = "missing"  # no verdict counts: its stamps have their worst values


class Surface(Word):
    """The text that a verifier looks at."""

    ARGUMENTS = "arguments"
    RESULT = "result"


class EnforcementKind(Word):
    """An exception from enforcement."""

    OBSERVE = "observe"  # denials are told, and not enforced
    FREEZE = "freeze"  # no call begins
    BREAK_GLASS = "break-glass"  # policies do not deny one person one resource, for some minutes


class EnforcementScope(Word):
    """The thing that an exception from enforcement is about."""

    TENANT = "tenant"
    POLICY = "policy"
    RESOURCE = "resource"
    PRINCIPAL = "principal"


class StampType(Word):
    """The type of a stamp of a verifier outside."""

    BOOLEAN = "boolean"
    INTEGER = "integer"
    TEXT = "text"
    TEXTS = "texts"  # a list


class Status(Word):
    """The state of a session, attestation, request, grant, delegation or key of the vault at a moment."""

    OPEN = "open"
    ENDED = "ended"
    ACTIVE = "active"
    REVOKED = "revoked"
    CONSUMED = "consumed"
    EXPIRED = "expired"  # by the clock alone, without an event
    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    SET = "set"
    DELETED = "deleted"


class Role(Word):
    """The role of a key or a session; it bounds the events that the key may sign (`processors/intake/authority.py`)."""

    ROOT = "root"
    ORGANISATION = "organisation"  # of the key that the founding event names; it signs `org:` policies alone
    ADMIN = "admin"
    MONITOR = "monitor"
    ENROLMENT = "enrolment"
    BRIDGE = "bridge"
    APPROVER = "approver"
    ATTESTER = "attester"
    VERIFIER = "verifier"
    AGENT = "agent"
    SERVICE = "service"
    TOOL = "tool"
    SESSION = "session"  # of a session's own key
    OFFER = "offer"  # of the key with which a session's instance reports the calls to its tools
    USER = "user"  # of a session that a bridge opened for a person


class ProviderSubjects(Word):
    """The principals that an identity provider speaks for."""

    USER = "user"
    WORKLOAD = "workload"


class AttestationKind(Word):
    """The kind of a row in the view of attestations."""

    RECORD = "record"
    REQUEST = "request"
    GRANT = "grant"


class RegistryKind(Word):
    """The first part of a key on the registry topic, `kind/hex`."""

    TENANT = "tenant"
    KEY = "key"
    TOOLS = "tools"
    REVOKED = "revoked"
    ROOTS = "roots"  # a rotation of the root keys, by its epoch
    SEALING = "sealing"  # the newest X25519 half of a key, where it is not that of the registration
    ENGINE = "engine"  # an activation, by its event
    PROVIDER = "provider"  # trust in an identity provider, or its end, by its event


class SessionKind(Word):
    """The first part of a key on the sessions topic, `kind/hex`, with a session id in hex."""

    SESSION = "session"
    RENEWED = "renewed"
    ENDED = "ended"


class Stage(IntEnum):
    """The stages of a decision (docs/mapl.md 12), in order. Of two alternative denials the later stage's counts.

    `number` is the stage's number for people and in JSON, `label` the name of its checks.
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
