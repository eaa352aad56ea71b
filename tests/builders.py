"""What a `World` is made of: keys from words, actors, events before they are signed, and outputs read again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from processors.effects import Output
from processors.intake.identify import Received
from processors.proof import signing
from processors.proof.sealing import SealingKey
from processors.proof.signing import SigningKey
from producers.home.keys import KeyPair
from schemas import codec, topics
from schemas.changes import SessionChanged
from schemas.events.attributes import NONE, Attributes
from schemas.events.enforcement import EnforcementSet
from schemas.events.keys import AdminAddition, AdminRemoval, RootRotation
from schemas.events.logins import LoginProof
from schemas.events.tools import ToolDeclaration
from schemas.events.verdicts import StampDeclaration, VerifierDeclaration
from schemas.records import (
    AuditEntry,
    DeadLetter,
    Decision,
    EnrolmentGrant,
    InvocationRequested,
    Prompt,
    Result,
    SessionOpened,
)

CATALOGUE = bytes(range(32))  # of every verifier here
WORST = {"level": 9, "kind": "other", "opaque": True, "tables": ["*"]}
_TYPES = {int: "integer", str: "text", bool: "boolean", list: "texts"}


def stamps_of(worst: dict[str, Any]) -> tuple[StampDeclaration, ...]:
    """Return declarations of stamps by their worst values."""
    return tuple(StampDeclaration(name=n, type=_TYPES[type(v)], worst=json.dumps(v)) for n, v in worst.items())


def declaration(prefix: str = "judge", **more: Any) -> VerifierDeclaration:
    """Return the declaration of a verifier of the bank's operations."""
    fields = {
        "prefix": prefix.replace("-", "_"),
        "priority": 100,
        "surfaces": ("arguments",),
        "resources": ("tool:bank/**",),
        "stamps": stamps_of(WORST),
        "catalogue": CATALOGUE,
        "max_age_ms": 30_000,
        "required": True,
        **more,
    }
    return VerifierDeclaration(**fields)


def noise(*words: object) -> bytes:
    """Return 32 bytes that look random and are the same on every machine."""
    return sha256("/".join(map(str, words)).encode()).digest()


def keys_of(*words: object) -> KeyPair:
    """Return a real key pair from words instead of randomness."""
    return KeyPair(SigningKey.from_seed(noise("signing", *words)), SealingKey.from_secret(noise("sealing", *words)))


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody who signs. A session is an actor of role `session`, under the name of who opened it."""

    role: str
    principal_id: str
    keys: KeyPair

    @property
    def kid(self) -> bytes:
        return self.keys.kid

    @property
    def session_id(self) -> bytes | None:
        return self.keys.kid if self.role == "session" else None


@dataclass(frozen=True, slots=True)
class Draft:
    """An event before it is signed: the value for the topic and the leaf to sign."""

    value: bytes
    leaf: bytes


@dataclass(frozen=True, slots=True)
class Folded:
    """What one record caused, with the outputs read again, and what the views were told of it alone."""

    received: Received
    outputs: list[Output]
    entry: AuditEntry
    feed: list[Output]

    def of(self, topic: topics.Topic) -> list[Output]:
        return [output for output in (*self.outputs, *self.feed) if output.topic is topic]

    @property
    def says(self) -> tuple[str, str]:
        """Outcome and reason, as the audit log has them."""
        return self.entry.outcome, self.entry.reason

    @property
    def decisions(self) -> list[Decision]:
        return [codec.decode_as(Decision, o.value or b"") for o in self.of(topics.DECISIONS)]

    @property
    def results(self) -> list[Result]:
        return [codec.decode_as(Result, o.value or b"") for o in self.of(topics.RESULTS)]

    @property
    def dead_letters(self) -> list[DeadLetter]:
        return [codec.decode_as(DeadLetter, o.value or b"") for o in self.of(topics.DEAD_LETTERS)]

    @property
    def session_changes(self) -> list[SessionChanged]:
        return [codec.decode_as(SessionChanged, o.value or b"") for o in self.of(topics.OPS_SESSIONS)]

    @property
    def decision_leaf(self) -> bytes:
        """The leaf of the one decision in here."""
        (output,) = self.of(topics.DECISIONS)
        assert output.leaf is not None
        return output.leaf


def logged_in(
    opening: SessionOpened, *, keys: KeyPair, genesis: bytes, bridge: bytes, nonce: bytes, expires_at: int, **what: Any
) -> SessionOpened:
    """Return the opening of a session with the proof of its login, signed by `keys`."""
    offer = opening.key
    said = {"ed25519": offer.ed25519, "x25519": offer.x25519, "nonce": nonce, "expires_at": expires_at, **what}
    return replace(
        opening,
        key=replace(offer, possession=keys.signing.sign(signing.login_bytes(genesis, bridge, **said))),
        login=LoginProof(nonce=nonce, expires_at=expires_at),
    )


def tool(resource: str, *, timeout_ms: int = 5_000, idempotent: bool = False) -> ToolDeclaration:
    """Return the declaration of one operation."""
    return ToolDeclaration(resource=resource, description="", timeout_ms=timeout_ms, idempotent=idempotent)


def frozen() -> EnforcementSet:
    """Return an administrator's event that freezes the tenant."""
    return EnforcementSet(kind="freeze", scope="tenant", name="", on=True, reason="a drill")


def grant(
    *,
    roles: Sequence[str] = ("agent", "service", "tool"),
    name_pattern: str = "*",
    count_max: int = 100,
    attributes: Attributes = NONE,
) -> EnrolmentGrant:
    """Return what an enrolment key may register."""
    return EnrolmentGrant(roles=tuple(roles), name_pattern=name_pattern, count_max=count_max, attributes=attributes)


def invocation(
    resource: str,
    parameters: Any = None,
    *,
    intents: Sequence[str] = (),
    prompts: Sequence[Prompt] = (),
    **wishes: Any,
) -> InvocationRequested:
    """Return a call. `parameters` is a value, or a text to be sent as it stands; `wishes`: deadlines, a key."""
    text = parameters if isinstance(parameters, str) else json.dumps({} if parameters is None else parameters)
    return InvocationRequested(
        resource=resource, parameters=text, intents=tuple(intents), prompts=tuple(prompts), **wishes
    )


def recipients(folded: Folded, topic: topics.Topic) -> set[tuple[bytes, bytes]]:
    """Return whom the one output on a topic is sealed to."""
    (output,) = folded.of(topic)
    assert len(set(output.recipients)) == len(output.recipients)
    return set(output.recipients)


def pairs(*actors: Actor) -> set[tuple[bytes, bytes]]:
    """Return actors as recipients."""
    return {(actor.kid, actor.keys.sealing.public) for actor in actors}


def payload_of(folded: Folded, topic: topics.Topic) -> bytes:
    """Return the payload of the one output on a topic."""
    (output,) = folded.of(topic)
    assert output.payload is not None
    return output.payload


def act_bytes(act: AdminAddition | AdminRemoval | RootRotation) -> bytes:
    """Return a root act as its event carries it."""
    return codec.current(type(act).__name__).sha256 + codec.encode(act)
