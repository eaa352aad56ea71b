"""An in-memory tenant with real keys: what is said in it goes through `processors.step.step`, as from a broker.

`World` plays everybody at once: the founder, the agents, the tools, and the broker with its clock and its offsets. A
`World` made twice says the same bytes twice, on any machine. Nothing of the fold is replaced; only randomness and time
are arguments, as they are at the edge.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from processors.effects import Output
from processors.feed import KINDS, Source, feed_of
from processors.identity.issuers import DEVELOPMENT_ISSUER
from processors.intake.identify import Received
from processors.proof import signing
from processors.proof.authoring import uuid7
from processors.proof.signing import KID_HEADER, PROOF_HEADER, Place, VerifiedHeads
from processors.state.bounds import TenantLimits
from processors.state.engines import Engines
from processors.state.tables import Tables
from processors.step import step
from producers.home.keys import KeyPair
from schemas import codec, topics
from schemas.events import keys as acts
from schemas.events.attributes import NONE, Attributes
from schemas.limits import LOGIN_MS
from schemas.records import (
    AuditEntry,
    Body,
    ClockTicked,
    Event,
    Header,
    PolicyPublished,
    PolicyWithdrawn,
    PrincipalRegistered,
    PrincipalRevoked,
    ResultReported,
    SessionOpened,
    TenantFounded,
)
from tests import builders as made
from tests.builders import Actor, Draft, Folded

START_MS = 1_800_000_000_000
HOUR_MS = 3_600_000
Headers = Sequence[tuple[str, bytes | None]]


class World:
    """One tenant, its actors, and the broker's clock and offsets.

    `tables` is what the step folds into, `records` all that was folded, in order, to be folded again elsewhere, and
    `followed` what it wrote to the topics that clients and hosts follow.
    """

    def __init__(
        self,
        name: str = "world",
        *,
        tenant: str = "acme",
        deployment: str = "test",
        root_count: int = 3,
        root_threshold: int = 2,
        bounds: TenantLimits | None = None,
        engines: Engines | None = None,
        **founding: Any,
    ) -> None:
        self.name, self.tenant, self.deployment = name, tenant, deployment
        self.given: dict[str, Any] = {"bounds": bounds, "engines": engines}
        self.now, self.offset = START_MS, 0
        self.records, self.followed = list[Received](), list[Output]()
        self.roots = [Actor("root", "root", made.keys_of(name, "root", i)) for i in range(root_count)]
        self.admin = Actor("admin", "admin", made.keys_of(name, "admin"))
        self.monitor = Actor("monitor", "monitor", made.keys_of(name, "monitor"))
        self.organisation = Actor("organisation", "organisation", made.keys_of(name, "organisation"))
        self._drawn, self._seq = 0, dict[bytes, int]()
        self.founding = TenantFounded(
            **{
                "tenant": tenant,
                "deployment": deployment,
                "root_keys": tuple(root.keys.signing.public for root in self.roots),
                "root_threshold": root_threshold,
                "next_root_digests": (),
                "admin": self.admin.keys.offer("admin", "admin", signing.NO_GENESIS),
                "monitor": self.monitor.keys.offer("monitor", "monitor", signing.NO_GENESIS),
                "development": True,
                "salt": made.noise(name, "founding")[:16],
                **founding,
            }
        )
        self.genesis = signing.NO_GENESIS  # until the founding event has its bytes
        self.founding_draft = self.draft(self.founding, self.admin)
        self.genesis = sha256(self.founding_draft.value[codec.FRAME_BYTES :]).digest()
        self.tables = self.fresh_tables()
        self.heads = VerifiedHeads()

    @classmethod
    def founded(cls, name: str = "world", **how: Any) -> World:
        """Return a world whose tenant stands."""
        world = cls(name, **how)
        assert world.found().says == ("accepted", "")
        return world

    def fresh_tables(self) -> Tables:
        """Return tables as a monitor has them before the first record."""
        return Tables(tenant=self.tenant, deployment=self.deployment, genesis=self.genesis, **self.given)

    # --- the broker

    def advance(self, ms: int) -> None:
        """Let the broker's clock run."""
        self.now += ms

    def fold(self, value: bytes | None, headers: Headers, **where: Any) -> Folded:
        """Append a record to intake and fold it. `where` may set partition, offset, appended_at or a ruling."""
        received = self.receive(value, headers, **where)
        self.offset = received.offset + 1
        self.records.append(received)
        folded = self.fold_into(self.tables, received)
        self.followed += [*folded.of(topics.REGISTRY), *folded.of(topics.SESSIONS)]
        return folded

    def receive(self, value: bytes | None, headers: Headers, **where: Any) -> Received:
        """Return a record as the broker would deliver it next."""
        place = {"partition": 0, "offset": self.offset, "appended_at": self.now, **where}
        return Received(**place, value=value, headers=list(headers))

    def fold_into(self, tables: Tables, received: Received) -> Folded:
        """Fold a record into some tables."""
        mark = tables.savepoint()
        outputs = step(tables, received, self.heads)
        feed = feed_of(tables.writes(KINDS, since=mark), Source(tables.origin, tables.tenant_id))
        return Folded(received, outputs, codec.decode_as(AuditEntry, outputs[-1].value or b""), feed)

    def attempt(self, value: bytes | None, headers: Headers, **where: int) -> Folded:
        """Fold a record and take it back, as in an aborted transaction. Requires that all before it is committed."""
        folded = self.fold_into(self.tables, self.receive(value, headers, **where))
        self.tables.rollback()
        return folded

    def rows(self, *, without: Sequence[str] = ()) -> dict[str, dict[bytes, Any]]:
        """Return a copy of every table's rows by table."""
        return {name: dict(table.rows) for name, table in self.tables.by_name.items() if name not in without}

    # --- signing

    def draw(self) -> bytes:
        """Return 32 bytes that this world has not used yet."""
        self._drawn += 1
        return made.noise(self.name, "draw", self._drawn)

    def next_seq(self, actor: Actor) -> int:
        """Return a sequence number that is in order for the actor's key, and remember it."""
        seq = max(self._seq.get(actor.kid, 0) + 1, self.now * 1000)
        self._seq[actor.kid] = seq
        return seq

    def draft(
        self,
        body: Body,
        by: Actor,
        *,
        place_tenant: str | None = None,
        place_genesis: bytes | None = None,
        place_topic: topics.Topic = topics.INTAKE,
        place_partition: int = 0,
        place_tag: bytes = signing.EVENT_TAG,
        **header: Any,
    ) -> Draft:
        """Return an event of `by`. `header` replaces header fields, `place_…` says for where it is signed."""
        issued_at = header.get("issued_at", self.now)
        drawn = self.draw()
        fields = {
            "event_id": header.get("event_id") or uuid7(issued_at, drawn[:10]),
            "session_id": by.session_id,
            "principal_id": by.principal_id,
            "issued_at": issued_at,
            "salt": drawn[16:],
            **header,
        }
        if "seq" not in fields:
            fields["seq"] = self.next_seq(by)
        datum = codec.encode(Event(header=Header(**fields), body=body))
        schema = codec.current("Event")
        genesis = signing.NO_GENESIS if isinstance(body, TenantFounded) else self.genesis
        place = Place.of(
            place_tag,
            genesis if place_genesis is None else place_genesis,
            place_topic.of(place_tenant or self.tenant),
            place_partition,
            schema.sha256,
        )
        return Draft(schema.prefix + datum, place.leaf(datum))

    def sign(self, drafts: Sequence[Draft], by: Actor) -> list[list[tuple[str, bytes | None]]]:
        """Return the headers of each draft, all under one signature."""
        proofs = by.keys.signing.sign_leaves([draft.leaf for draft in drafts])
        return [[(PROOF_HEADER, proof), (KID_HEADER, by.kid)] for proof in proofs]

    def signed(self, body: Body, by: Actor, **tampering: Any) -> tuple[bytes, list[tuple[str, bytes | None]]]:
        """Return the value and headers of one event, signed alone."""
        draft = self.draft(body, by, **tampering)
        (headers,) = self.sign([draft], by)
        return draft.value, headers

    def send(self, body: Body, by: Actor, **tampering: Any) -> Folded:
        """Sign an event alone, append it and fold it."""
        return self.fold(*self.signed(body, by, **tampering))

    # --- what can be said

    def found(self) -> Folded:
        """Append the founding event that the genesis was made from."""
        (headers,) = self.sign([self.founding_draft], self.admin)
        return self.fold(self.founding_draft.value, headers)

    def offer(self, keys: KeyPair, role: str, name: str, **replaced: Any) -> acts.KeyOffer:
        """Return a key offer with a good proof of possession, fields replaced afterwards."""
        offer = keys.offer(role, name, self.genesis)
        fields = {field: getattr(offer, field) for field in ("principal_id", "ed25519", "x25519", "possession")}
        return acts.KeyOffer(**{**fields, **replaced})

    def registration(
        self,
        role: str,
        principal_id: str,
        *,
        keys: KeyPair | None = None,
        offer: acts.KeyOffer | None = None,
        **body: Any,
    ) -> PrincipalRegistered:
        """Return a registration that is in order unless `body` says otherwise. A tool offers `tool:<its name>/run`."""
        given = keys or made.keys_of(self.name, "registered", self.draw())
        default_tools = (made.tool(f"tool:{principal_id}/run"),) if role == "tool" else ()
        default_grant = made.grant() if role == "enrolment" else None
        return PrincipalRegistered(
            **{
                "role": role,
                "key": offer or self.offer(given, role, principal_id),
                "attributes": Attributes(issuers=(DEVELOPMENT_ISSUER,)) if role == "bridge" else NONE,
                "tools": default_tools,
                "enrolment": default_grant,
                **({"verifier": made.declaration(principal_id)} if role == "verifier" else {}),
                **body,
            }
        )

    def register(self, role: str, principal_id: str, *, by: Actor | None = None, **body: Any) -> Actor:
        """Register a principal's key and return who it makes."""
        keys = body.pop("keys", None) or made.keys_of(self.name, "registered", role, principal_id, self.draw())
        registration = self.registration(role, principal_id, keys=keys, **body)
        folded = self.send(registration, by or self.admin)
        assert folded.says == ("accepted", ""), folded.results
        return Actor(role, principal_id, keys)

    def session_of(self, actor: Actor, *, keys: KeyPair, ttl_ms: int = HOUR_MS, **body: Any) -> SessionOpened:
        """Return a session opening that is in order unless `body` says otherwise."""
        name = actor.principal_id
        fields = {"principal_id": name, "key": self.offer(keys, "session", name), "ttl_ms": ttl_ms, **body}
        return SessionOpened(**fields)

    def person_session(self, name: str = "user:alice", *, keys: KeyPair, **body: Any) -> SessionOpened:
        """Return a session opening for a person, as a bridge makes it unless `body` says otherwise."""
        fields = {
            "principal_id": name,
            "key": self.offer(keys, "session", name),
            "ttl_ms": HOUR_MS,
            "attributes": Attributes(roles=("analyst",), user="alice"),
            "issuer": DEVELOPMENT_ISSUER,
            **body,
        }
        return SessionOpened(**fields)

    def provided_session(
        self, name: str, bridge: Actor, *, keys: KeyPair, login: dict[str, Any] | None = None, **body: Any
    ) -> SessionOpened:
        """Return a session opening for a principal of a provider, with the proof of its login.

        `login` replaces what the session's key signs, and `body` what the event says.
        """
        opening = self.person_session(name, keys=keys, **{"token_sha256": bytes(32), **body})
        signed: dict[str, Any] = {"bridge": bridge.kid, "token_sha256": opening.token_sha256 or b"", "keys": keys}
        signed |= {"genesis": self.genesis, "nonce": bytes(16), "expires_at": self.now + LOGIN_MS, **(login or {})}
        return made.logged_in(opening, **signed)

    def open_session(self, actor: Actor, *, keys: KeyPair | None = None, ttl_ms: int = HOUR_MS) -> Actor:
        """Open a session of an agent or service and return it."""
        given = keys or made.keys_of(self.name, "session", self.draw())
        folded = self.send(self.session_of(actor, keys=given, ttl_ms=ttl_ms), actor)
        assert folded.says == ("accepted", ""), folded.results
        return Actor("session", actor.principal_id, given)

    def publication(self, *documents: dict[str, Any]) -> PolicyPublished:
        """Return a publication that replaces what is in force under the same ids."""
        rows = [self.tables.policies.get(document["policy_id"].encode()) for document in documents]
        return PolicyPublished(
            documents=tuple(json.dumps(document) for document in documents),
            previous=tuple(row.digest if row else None for row in rows),
        )

    def publish_policy(self, *documents: dict[str, Any]) -> Folded:
        """Put policy documents into force."""
        folded = self.send(self.publication(*documents), self.admin)
        assert folded.says == ("accepted", ""), folded.results
        return folded

    def withdraw_policy(self, policy_id: str) -> Folded:
        """Take a policy out of force."""
        body = PolicyWithdrawn(policy_id=policy_id, previous=self.tables.policies.rows[policy_id.encode()].digest)
        folded = self.send(body, self.admin)
        assert folded.says == ("accepted", ""), folded.results
        return folded

    def call(self, session: Actor, resource: str, parameters: Any = None, **tampering: Any) -> Folded:
        """Ask for an operation. `parameters` is a value, or a text to be sent as it stands."""
        return self.send(made.invocation(resource, parameters), session, **tampering)

    def report(self, decision: bytes, by: Actor, *, outcome: str = "ok", body: str = "{}", **more: Any) -> Folded:
        """Report what became of an allowed call, by the leaf of its decision."""
        attestations = more.pop("attestations", ())
        call = self.tables.calls.get(decision)
        more.setdefault("causation_id", call.event if call else None)
        reported = ResultReported(decision=decision, outcome=outcome, body=body, attestations=attestations)
        return self.send(reported, by, **more)

    def revoke(self, principal_id: str, *, by: Actor | None = None, kid: bytes | None = None) -> Folded:
        """Revoke a key, or all keys, of a principal."""
        return self.send(PrincipalRevoked(principal_id=principal_id, kid=kid, reason="lost"), by or self.admin)

    def tick(self, **tampering: Any) -> Folded:
        """Let the monitor say that time has passed."""
        return self.send(ClockTicked(deadline=self.now), self.monitor, **tampering)

    def consents(
        self, act: bytes, roots: Sequence[Actor], *, genesis: bytes | None = None, epoch: int | None = None
    ) -> tuple[acts.RootSignature, ...]:
        """Return the signatures of these keys under a root act."""
        now = self.tables.tenant.rows[b"-"].root_epoch if epoch is None else epoch
        message = signing.root_act_bytes(genesis or self.genesis, now, act)
        return tuple(acts.RootSignature(kid=root.kid, signature=root.keys.signing.sign(message)) for root in roots)

    def admin_addition(self, offer: acts.KeyOffer, roots: Sequence[Actor], **place: Any) -> acts.AdminAdded:
        """Return a root act that adds an admin, signed by these root keys."""
        act = made.act_bytes(acts.AdminAddition(admin=offer))
        return acts.AdminAdded(act=act, root_signatures=self.consents(act, roots, **place))

    def admin_removal(
        self, principal_id: str, roots: Sequence[Actor], *, kid: bytes | None = None, **place: Any
    ) -> acts.AdminRemoved:
        """Return a root act that removes an admin, or one key of it, signed by these root keys."""
        act = made.act_bytes(acts.AdminRemoval(principal_id=principal_id, kid=kid, reason="left"))
        return acts.AdminRemoved(act=act, root_signatures=self.consents(act, roots, **place))

    def root_rotation(
        self, new: Sequence[KeyPair], roots: Sequence[Actor], *, threshold: int = 1, next_digests: Sequence[bytes] = (),
        **place: Any,
    ) -> acts.RootRotated:  # fmt: skip
        """Return a root act that names other root keys, signed by these and by the new ones."""
        act = made.act_bytes(
            acts.RootRotation(
                root_keys=tuple(keys.signing.public for keys in new),
                root_threshold=threshold,
                next_root_digests=tuple(next_digests),
                reason="planned",
            )
        )
        both = [*roots, *(Actor("root", "root", keys) for keys in new)]
        return acts.RootRotated(act=act, root_signatures=self.consents(act, both, **place))


@dataclass(frozen=True, slots=True)
class Office:
    """A founded world with one agent in a session, one tool, and a policy that lets the one call the other."""

    world: World
    agent: Actor
    session: Actor
    tool: Actor
    resource: str = "tool:calc/run"

    @classmethod
    def opened(cls, name: str = "office", **how: Any) -> Office:
        world = World.founded(name, **how)
        agent = world.register("agent", "bot")
        calc = world.register("tool", "calc")
        world.publish_policy({"policy_id": "agent:bot", "resources": ["tool:**"]})
        return cls(world, agent, world.open_session(agent), calc)

    def call(self, parameters: Any = None, **tampering: Any) -> Folded:
        """Let the agent call the tool."""
        return self.world.call(self.session, self.resource, parameters, **tampering)
