"""A whole log in memory: what a monitor would have written, and the folder that an export of it makes.

`SmallLog` is made from a `World`: each record is folded by the real step, and its audit entry signed as the loop signs
it. A test changes the log before it is packed (what a monitor could do), or the files afterwards (what anybody could).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from processors.calls.bodies import reference_to, written
from processors.calls.verifiers.catalogue_rules import digest_of
from processors.effects import output_place
from processors.evidence.audit_log import log_leaf
from processors.evidence.folder_format import AuditRecord, Manifest
from processors.evidence.packing import pack
from processors.intake.identify import Received, Ruling
from processors.proof import jcs, signing
from processors.proof.signing import SigningKey
from producers.home.keys import KeyPair
from schemas import codec
from schemas.events.attributes import Attributes
from schemas.events.catalogues import CataloguePublished, CatalogueRule, CatalogueWithdrawn
from schemas.events.enforcement import EnforcementSet
from schemas.events.engines import EngineActivated
from schemas.events.keys import KeyRotated
from schemas.events.logins import LoginEnded, LoginRefused
from schemas.events.providers import IdentityProviderDistrusted, IdentityProviderTrusted
from schemas.events.rulings import RecordsSkipped, TimeAccepted
from schemas.events.tenancy import LimitsSet, TenantLimit
from schemas.events.tools import ToolsOffered
from schemas.events.verdicts import VerdictReported
from schemas.events.workflow import (
    ApplicationEventLogged,
    AttestationApproved,
    AttestationDenied,
    AttestationRevoked,
    AttestationSet,
    ContextDeleted,
    ContextListed,
    ContextRead,
    ContextWritten,
    DelegationGranted,
    DelegationRevoked,
    StateQueried,
)
from schemas.records import AuditEntry, Body, ClockTicked, SessionClosed, SessionRevoked
from schemas.topics import AUDIT
from tests.builders import Actor, Folded, keys_of
from tests.logins_world import MINUTE_MS, renewal_of
from tests.world import HOUR_MS, World

Pair = tuple[AuditRecord, Received | None]
ISSUER = "https://idp.example"
NO_VERDICT = VerdictReported(
    call=bytes(16), session=bytes(32), resource="tool:a", parameters_sha256=bytes(32), surface="arguments",
    catalogue=bytes(32), expires_at=0, outcome="pass", stamps="{}", findings=(),
)  # fmt: skip


@dataclass(slots=True)
class FolderInMemory:
    """A folder as `processors.evidence.verdict` reads one. `chunk` is the size of the pieces."""

    files: dict[str, bytes]
    chunk: int = 1 << 16

    def names(self) -> Collection[str]:
        return self.files.keys()

    def read(self, name: str) -> Iterator[bytes]:
        data = self.files[name]
        return (data[at : at + self.chunk] for at in range(0, len(data), self.chunk))

    def items(self, name: str) -> list[bytes]:
        """Return the length-prefixed records of a file."""
        data, at, items = self.files[name], 0, []
        while at < len(data):
            size = int.from_bytes(data[at : at + 4], "big")
            items.append(data[at + 4 : at + 4 + size])
            at += 4 + size
        return items

    def put(self, name: str, items: list[bytes]) -> FolderInMemory:
        """Return a copy with other records in one file, and the manifest as it was."""
        return self.with_file(name, b"".join(signing.length_prefixed(item) for item in items))

    def with_file(self, name: str, data: bytes | None) -> FolderInMemory:
        """Return a copy with one file set, or removed."""
        files = {**self.files, name: data} if data is not None else {n: d for n, d in self.files.items() if n != name}
        return FolderInMemory(files, self.chunk)

    def manifest(self) -> Manifest:
        return Manifest.parse(self.files["manifest.json"])

    def remade(self, **fields: Any) -> FolderInMemory:
        """Return a copy whose manifest names the files as they are, as a thorough forger would leave it."""
        files = {n: sha256(d).digest() for n, d in self.files.items() if n != "manifest.json"}
        manifest = replace(self.manifest(), **{"files": files, **fields})
        return self.with_file("manifest.json", manifest.encode())


@dataclass(slots=True)
class SmallLog:
    """The records of a log in order, each with its intake record, and the entries that they hold."""

    world: World
    pairs: list[Pair] = field(default_factory=list)
    entries: list[AuditEntry] = field(default_factory=list)

    @classmethod
    def of(cls, world: World, bursts: Iterable[int] = ()) -> SmallLog:
        """Return the log of everything that was said in a world, signed in bursts of these sizes, the rest as one."""
        tables = world.fresh_tables()
        folded = [world.fold_into(tables, received) for received in world.records]
        log = cls(world, [], [f.entry for f in folded])
        sizes = [*bursts]
        for size in (*sizes, len(folded) - sum(sizes)):
            log._sign(folded[len(log.pairs) : len(log.pairs) + size])
        return log

    def _sign(self, burst: list[Folded]) -> None:
        made = [record_of(self.world, f.entry) for f in burst]
        key = self.world.monitor.keys.signing
        proofs = key.sign_leaves([leaf for _, leaf in made])
        records = [AuditRecord(value, key.kid, proof) for (value, _), proof in zip(made, proofs, strict=True)]
        self.pairs += zip(records, map(event_of, burst), strict=True)

    def resign(self, index: int, *, by: SigningKey | None = None, **fields: Any) -> SmallLog:
        """Return a copy in which one entry says something else and is signed again; its successor is not told."""
        entry = replace(self.entries[index], **fields)
        value, leaf = record_of(self.world, entry)
        key = by or self.world.monitor.keys.signing
        record = AuditRecord(value, key.kid, key.sign_leaves([leaf])[0])
        pairs, entries = [*self.pairs], [*self.entries]
        pairs[index], entries[index] = (record, pairs[index][1]), entry
        return SmallLog(self.world, pairs, entries)

    def relinked(self, start: int, *, by: SigningKey | None = None) -> SmallLog:
        """Return a copy whose entries from `start` on link to what is there and are signed again: a monitor's lie."""
        log = SmallLog(self.world, [*self.pairs], [*self.entries])
        for at in range(start, len(log.entries)):
            log = log.resign(at, by=by, prev=leaf_of(log.entries[at - 1]))
        return log

    def folder(self, **fields: Any) -> FolderInMemory:
        """Return the export."""
        world = self.world
        about = {"origin": f"{world.deployment}/{world.tenant}", "tenant": world.tenant, "genesis": world.genesis}
        files: dict[str, bytearray] = {}
        for name, piece in pack(self.pairs, **{**about, **fields}):
            files.setdefault(name, bytearray()).extend(piece)
        return FolderInMemory({name: bytes(data) for name, data in files.items()})


def event_of(folded: Folded) -> Received:
    """Return the intake record that goes with an entry: of a skipped one the ruling."""
    ruling = folded.received.ruling
    return ruling.event if ruling is not None and folded.entry.outcome == "skipped" else folded.received


def record_of(world: World, entry: AuditEntry) -> tuple[bytes, bytes]:
    """Return an audit record's value and the leaf that a monitor signs."""
    body = codec.encode(entry)
    place = output_place(signing.AUDIT_TAG, world.genesis, AUDIT.of(world.tenant), 0, "AuditEntry")
    return codec.current("AuditEntry").prefix + body, place.leaf(body)


def leaf_of(entry: AuditEntry) -> bytes:
    """Return the log leaf of an entry."""
    return log_leaf(codec.current("AuditEntry").sha256, codec.encode(entry))


def build_world(name: str = "evidence", **how: Any) -> World:
    """Return a world in which every kind of record was said; tests refer to the indexes beside the lines."""
    world = World.founded(name, root_count=1, root_threshold=1, **how)  # 0 TenantFounded
    agent = world.register("agent", "bot")  # 1 PrincipalRegistered
    tool = world.register("tool", "calc", keys=tool_keys(name))  # 2 PrincipalRegistered
    world.publish_policy({"policy_id": "agent:bot", "resources": ["tool:calc/run"]})  # 3 PolicyPublished
    session = world.open_session(agent)  # 4 SessionOpened
    allowed = world.call(session, "tool:calc/run", {"a": 1})  # 5 InvocationRequested, allowed
    world.report(allowed.decision_leaf, tool)  # 6 ResultReported
    world.call(session, "tool:other/run")  # 7 InvocationRequested, denied
    world.advance(1000)
    value, (proof, kid) = world.signed(world.publication(), world.admin)
    world.fold(b"no event", [kid])  # 8 Undecodable
    world.fold(None, [])  # 9 Undecodable
    world.fold(value, [])  # 10 PolicyPublished, MALFORMED_PROOF
    world.send(world.registration("agent", "mallory"), tool)  # 11 PrincipalRegistered, WRONG_ROLE
    world.fold(value, [(proof[0], bytes(64) + (proof[1] or b"")[64:]), kid])  # 12 PolicyPublished, BAD_SIGNATURE
    world.send(world.registration("agent", "eve"), session, principal_id="eve")  # 13 …, WRONG_PRINCIPAL
    second = world.offer(keys_of(name, "second admin"), "admin", "second")
    world.send(world.admin_addition(second, world.roots), world.roots[0])  # 14 AdminAdded
    world.revoke("bot")  # 15 PrincipalRevoked
    world.call(session, "tool:calc/run", {"a": 2})  # 16 InvocationRequested, EXPIRED_SESSION
    world.tick()  # 17 ClockTicked
    world.withdraw_policy("agent:bot")  # 18 PolicyWithdrawn
    _say_workflow(world)  # 19 and on: one of each kind about workflow state, accepted or refused
    return world


def _say_workflow(world: World) -> None:
    """Let every kind of event about the state of workflows be said once."""
    session = world.open_session(world.register("agent", "clerk"))
    digest, large = bytes(32), reference_to(bytes(16), b"a large value")
    context = {"scope": "session", "key": "k"}
    said: tuple[Body, ...] = (
        ContextWritten(**context, value="1"),
        ContextRead(**context),
        ContextListed(scope="session", prefix="", after="", limit=1),
        ContextDeleted(**context),
        ContextWritten(scope="session", key="large", value=jcs.canonical(written(large)).decode(), bodies=(large,)),
        AttestationApproved(request=digest, key="k", parameters_sha256=digest, reason=""),
        AttestationDenied(request=digest, key="k", parameters_sha256=digest, reason=""),
        AttestationRevoked(record=digest, reason=""),
        DelegationGranted(delegate="nobody", scope="{}", expires_at=0, purpose=""),
        DelegationRevoked(delegation=digest, reason=""),
        StateQueried(what="delegations", argument="null"),
        ApplicationEventLogged(
            event_type="t", source="", action="", target="", outcome="success", category="", signed=True, metadata="{}"
        ),
        ToolsOffered(tools=(), key=world.offer(keys_of(world.name, "offer"), "offer", session.principal_id)),
        SessionClosed(reason="done"),
    )
    for body in said:
        world.send(body, session)
    _rule(world)
    bridge = world.register("bridge", "bridge:development")
    world.send(AttestationSet(session=session.kid, key="macaw.k", value="1", one_time=False), bridge)
    person = keys_of(world.name, "person")
    world.send(world.person_session(keys=person), bridge)
    _say_later_things(world, bridge)
    world.send(SessionRevoked(session=person.kid, reason="left"), world.admin)


def _say_later_things(world: World, bridge: Actor) -> None:
    """Let the bodies be said that have no rule yet, and the acts of the roots."""
    trusted = IdentityProviderTrusted(
        issuer=ISSUER, kind="oidc", namespace="example", subjects="user", name_pattern="user:example/*",
        attributes=Attributes(company="Example", roles=("*",)), audiences=("macaw",), algorithms=("EdDSA",),
        private_hosts=(),
    )  # fmt: skip
    world.send(trusted, world.admin)
    gate = world.register("bridge", "gate", attributes=Attributes(issuers=(trusted.issuer,)))
    opened = {"issuer": trusted.issuer, "attributes": Attributes(roles=("analyst",)), "actors": ("user:example/bot",),
              "login_ref": bytes(32), "subject_ref": bytes(32), "ttl_ms": 2 * MINUTE_MS}  # fmt: skip
    for number, name in enumerate(("user:example/bob", "user:bob")):
        keys = keys_of(world.name, "provided", number)
        world.send(world.provided_session(name, gate, keys=keys, methods=("hwk",), **opened), gate)
    _say_logins(world, gate, Actor("session", "user:example/bob", keys_of(world.name, "provided", 0)))
    next_bridge = world.offer(keys_of(world.name, "next bridge"), "bridge", bridge.principal_id)
    said: tuple[Body, ...] = (
        trusted,
        IdentityProviderDistrusted(issuer=ISSUER, end_sessions=False, reason="left"),
        IdentityProviderDistrusted(issuer=ISSUER, end_sessions=False, reason="again"),
        IdentityProviderDistrusted(issuer=ISSUER, end_sessions=True, reason="stolen"),
        KeyRotated(kid=bridge.kid, key=next_bridge, reason="planned"),
        EngineActivated(engine=1, data=(), reason="new rules"),  # refused: it decides already
    )
    for body in said:
        world.send(body, world.admin)
    world.send(LimitsSet(limits=(TenantLimit(name="sessions", value=20_000),)), world.admin)
    own = (CatalogueRule(id="a", kind="token", pattern="ACME-[0-9]{8}"),)
    world.send(CataloguePublished(name="own", verifier="secrets", rules=own, reason="own tokens"), world.admin)
    world.send(CatalogueWithdrawn(name="own", previous=digest_of("own", "secrets", own)), world.admin)
    world.send(EnforcementSet(kind="observe", scope="tenant", name="", on=True, reason="a look"), world.admin)
    world.send(NO_VERDICT, world.admin)  # refused: it is for verifiers
    third = keys_of(world.name, "third admin")
    world.send(world.admin_addition(world.offer(third, "admin", "third"), world.roots[:2]), world.roots[0])
    world.send(world.admin_removal("third", world.roots[:2]), world.roots[0])
    world.send(world.root_rotation([keys_of(world.name, "next root")], world.roots[:2]), world.roots[0])


def _say_logins(world: World, gate: Actor, bob: Actor) -> None:
    """Let a session be renewed, call after its first end, and end with its login."""
    world.advance(MINUTE_MS)
    world.send(renewal_of(world, bob, gate), gate)
    world.send(renewal_of(world, bob, gate, ttl_ms=0), gate)  # refused: SESSION_TTL
    world.advance(MINUTE_MS)
    world.call(bob, "tool:calc/run", {"a": 3})
    world.send(LoginRefused(issuer=ISSUER, reason="TOKEN_EXPIRED", login=bytes(32), count=2), gate)
    for login_ref in (bytes(32), None):  # the second is refused: LOGIN_FORM
        world.send(LoginEnded(issuer=ISSUER, login_ref=login_ref, reason="logout"), gate)
    world.call(bob, "tool:calc/run", {"a": 4})


def _rule(world: World) -> None:
    """Let two records be skipped, and one be folded at another time."""
    first = world.offset
    skipped = world.signed(RecordsSkipped(first=first, last=first + 1, reason="a disk"), world.admin)
    ruling = Ruling(b"", world.receive(*skipped, offset=first + 2))
    for offset in (first, first + 1):
        world.fold(None, [], offset=offset, appended_at=0, ruling=ruling)
    world.fold(*skipped)
    late, tick = world.offset, world.signed(ClockTicked(deadline=world.now), world.monitor)
    accepted = world.signed(TimeAccepted(first=late, last=late, now=world.now, reason="a clock"), world.admin)
    ruling = Ruling(b"", world.receive(*accepted, offset=late + 1))
    world.fold(*tick, appended_at=world.now + HOUR_MS, ruling=ruling)
    world.fold(*accepted)


def tool_keys(name: str = "evidence") -> KeyPair:
    """Return the keys of the tool in `build_world`."""
    return keys_of(name, "tool")


def build_log(name: str = "evidence", **how: Any) -> SmallLog:
    """Return the log of `build_world`."""
    return SmallLog.of(build_world(name, **how), bursts=(1, 7, 6))
