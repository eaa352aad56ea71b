"""Tenants for tests of the loop: founded on a broker, and spoken for without a client, a burst at a time."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType
from confluent_kafka.admin._config import ConfigEntry, ConfigResource

from macaw.installation.monitored import monitored
from macaw.installation.tenancy import create_tenant
from processors.identity.attributes import attributes_from
from processors.proof.authoring import RANDOM_BYTES, Draft, draft_event, sign_drafts
from processors.proof.signing import SigningKey
from processors.state.engines import Engines
from producers.home.home import Home, TenantHome
from producers.home.keys import KeyPair
from schemas.events.tools import ToolDeclaration
from schemas.records import Body, InvocationRequested, PolicyPublished, PrincipalRegistered, SessionOpened
from schemas.topics import DECISIONS, INTAKE
from streams.local.choose import BrokerInfo
from streams.worker.fold import TenantFold
from streams.worker.loop import Loop
from streams.worker.monitor import build_fold
from streams.worker.settings import LoopSettings
from tests.waiting import PATIENCE_SECONDS, wait_until

BURST = 256
RESOURCE = "tool:bank/transfer"

Record = tuple[bytes | None, Sequence[tuple[str, bytes]]]


@dataclass(slots=True)
class Speaker:
    """A key with its name; its events are numbered in the order in which they are made."""

    key: SigningKey
    name: str
    session: bytes | None = None
    last_seq: int = 0

    def next_seq(self) -> int:
        self.last_seq = max(self.last_seq + 1, time.time_ns() // 1000)
        return self.last_seq


@dataclass(slots=True)
class Tenant:
    """A tenant with an agent's open session and a tool that never answers."""

    folder: TenantHome
    producer: Producer
    admin: Speaker
    caller: Speaker
    appended: int = 0
    calls: int = 0

    @property
    def name(self) -> str:
        return self.folder.tenant

    @property
    def intake(self) -> str:
        return INTAKE.of(self.name)

    def events(self, speaker: Speaker, bodies: Iterable[Body]) -> list[Record]:
        """Return signed events, one signature a burst."""
        made: list[Record] = []
        for burst in _batched(bodies):
            drafts = [self._draft(speaker, body) for body in burst]
            made += [(d.value, h) for d, h in zip(drafts, sign_drafts(speaker.key, drafts), strict=True)]
        return made

    def _draft(self, speaker: Speaker, body: Body) -> Draft:
        return draft_event(
            self.name,
            self.folder.genesis,
            body,
            principal_id=speaker.name,
            session_id=speaker.session,
            seq=speaker.next_seq(),
            now_ms=time.time_ns() // 1_000_000,
            random=os.urandom(RANDOM_BYTES),
        )

    def append(self, records: Iterable[Record], *, producer: Producer | None = None) -> None:
        """Append records to intake and wait until the broker has them."""
        sender = producer or self.producer
        for value, headers in records:
            sender.produce(self.intake, value, partition=0, headers=list(headers))
            sender.poll(0)
            self.appended += 1
        assert sender.flush(PATIENCE_SECONDS) == 0

    def call(self, count: int, resource: str = RESOURCE) -> None:
        """Append calls of the agent."""
        self.append(self.make_calls(count, resource))

    def make_calls(self, count: int, resource: str = RESOURCE, *, pad: int = 0) -> list[Record]:
        """Return calls of the agent, not appended yet."""
        self.calls += count
        texts = (json.dumps({"n": n, "pad": "x" * pad}) for n in range(count))
        return self.events(
            self.caller,
            (InvocationRequested(resource=resource, parameters=text, intents=(), prompts=()) for text in texts),
        )


def _batched(bodies: Iterable[Body]) -> Iterable[tuple[Body, ...]]:
    rest = iter(bodies)
    while burst := tuple(itertools.islice(rest, BURST)):
        yield burst


def bad_records(tenant: Tenant) -> list[Record]:
    """Return one record of each kind that must be refused and still stand on the audit log."""
    (value, headers), (second, _) = tenant.events(
        tenant.caller, [InvocationRequested(resource=RESOURCE, parameters="{}", intents=(), prompts=())] * 2
    )
    assert value is not None
    proof, kid = headers
    stranger = Speaker(KeyPair.generate().signing, "nobody")
    return [
        (None, []),
        (b"", []),
        (b"\x00\x00\x00\x00\x01 not an event", headers),
        (b"\xff" * 400, headers),
        (value + b"\x00", headers),
        (value, []),
        (value, [proof]),
        (value, [proof, proof, kid]),
        (value, [("macaw-proof", bytes(72)), kid]),
        (second, headers),
        *tenant.events(stranger, [InvocationRequested(resource=RESOURCE, parameters="{}", intents=(), prompts=())]),
    ]


def mixed(tenant: Tenant, count: int) -> list[Record]:
    """Return `count` calls, allowed and denied and repeated, with bad records in between."""
    bad = bad_records(tenant)  # numbered before the calls, so that none of them counts even if a broker mends it
    made = tenant.make_calls(count - count // 3) + tenant.make_calls(count // 3, "tool:mail/send")
    made[5:5] = made[:3]  # the same bytes again
    made[count // 2 : count // 2] = bad
    return [*made, *bad, made[-1]]


class QuickSettings(LoopSettings):
    """Settings of workers that hear of each other, and of new tenants, sooner than is sensible outside of tests."""

    def intake(self) -> dict[str, Any]:
        return {**super().intake(), "heartbeat.interval.ms": 300, "topic.metadata.refresh.interval.ms": 1000}


class World:
    """An installation on a broker: its tenants, and a consumer group of its own."""

    def __init__(self, broker: BrokerInfo, base: Path, unique: str) -> None:
        self.broker = broker
        self.unique = unique
        self.base = base
        self.home = Home.create(base, {"bootstrap": broker.bootstrap, "deployment": "test", "tenant": "-"})
        self.group = f"{unique}.monitor"
        self.producer = self.idempotent_producer()
        self.tenants: dict[str, Tenant] = {}
        self.engines: Engines | None = None  # of `open_fold`; None: those of this installation

    def idempotent_producer(self) -> Producer:
        producer = Producer(
            {"bootstrap.servers": self.broker.bootstrap, "enable.idempotence": True, "linger.ms": 5, "log_level": 0}
        )
        producer.list_topics(
            timeout=PATIENCE_SECONDS
        )  # connects at once; without, the first record waits for half a second
        return producer

    def found(self, name: str = "one") -> Tenant:
        """Found a tenant and append what lets an agent call a tool."""
        folder = create_tenant(self.home, f"{self.unique}-{name}")
        genesis = folder.genesis
        agent, tool, session = KeyPair.generate(), KeyPair.generate(), KeyPair.generate()
        tenant = Tenant(
            folder,
            self.producer,
            Speaker(folder.key("admin").signing, "admin"),
            Speaker(session.signing, "shopper", session.kid),
            appended=1,
        )
        declared = ToolDeclaration(resource=RESOURCE, description="", timeout_ms=60_000, idempotent=False)
        policy = json.dumps({"policy_id": "role:payer", "resources": ["tool:bank/*"]})
        bodies: list[Body] = [
            _registration("tool", "bank", tool, genesis, {}, (declared,)),
            _registration("agent", "shopper", agent, genesis, {"roles": ["payer"]}),
            PolicyPublished(documents=(policy,), previous=(None,)),
        ]
        opening = SessionOpened(
            principal_id="shopper", key=session.offer("session", "shopper", genesis), ttl_ms=3_600_000
        )
        tenant.append(tenant.events(tenant.admin, bodies))
        tenant.append(tenant.events(Speaker(agent.signing, "shopper"), [opening]))
        self.tenants[tenant.name] = tenant
        return tenant

    def found_all(self, *names: str) -> list[Tenant]:
        """Found several tenants side by side: most of it is waiting."""
        with ThreadPoolExecutor(len(names)) as pool:
            return list(pool.map(self.found, names))

    def settings(self, worker: str = "0", *, cls: type[LoopSettings] = QuickSettings, **more: Any) -> LoopSettings:
        """Return a worker's settings; without a group where the broker's groups cannot be relied on."""
        given = cls(
            bootstrap=self.broker.bootstrap,
            group=self.group,
            pattern=rf"^macaw\.{self.unique}-.*\.intake$",
            transactional_id=f"{self.unique}.{worker}",
            session_timeout_ms=6000,
            **more,
        )
        return given if self.broker.is_real else replace(given, assigned=self._intakes)

    def _intakes(self) -> list[str]:
        with AdminClient({"bootstrap.servers": self.broker.bootstrap, "log_level": 0}) as admin:
            known = admin.list_topics(timeout=PATIENCE_SECONDS).topics
        return [t for t in known if t.startswith(f"macaw.{self.unique}-") and t.endswith(".intake")]

    def open_fold(self, name: str) -> TenantFold | None:
        """Return a fresh fold of a tenant that has its keys in this installation."""
        found = monitored(self.home, name)
        return build_fold(found, self.engines) if found else None

    def loop(self, worker: str = "0", *, cls: type[Loop] = Loop, settings: type[LoopSettings] = QuickSettings) -> Loop:
        return cls(self.settings(worker, cls=settings), self.open_fold)


def _registration(
    role: str, name: str, key: KeyPair, genesis: bytes, attributes: object, tools: tuple[ToolDeclaration, ...] = ()
) -> PrincipalRegistered:
    return PrincipalRegistered(
        role=role, key=key.offer(role, name, genesis), attributes=attributes_from(attributes), tools=tools
    )


def turn_until(loops: Loop | Sequence[Loop], done: Any) -> None:
    """Take turns until `done()`."""
    every = [loops] if isinstance(loops, Loop) else loops

    def turn() -> None:
        for loop in every:
            loop.turn(0.05 / len(every))

    wait_until(done, lambda: f"paused: {[loop.paused for loop in every]}", pause=0, meanwhile=turn)


def folded_here(loop: Loop, tenant: Tenant) -> int:
    """How many records of a tenant this loop's fold has taken, those before a restart included."""
    fold = loop.folds.get(tenant.intake)
    return fold.tables.committed_index if fold else 0


def fold_all(loop: Loop, *tenants: Tenant) -> None:
    """Take turns until everything that was appended is folded."""
    turn_until(loop, lambda: all(folded_here(loop, t) >= t.appended for t in tenants))


@contextmanager
def decisions_limited(world: World, tenants: Sequence[Tenant], size: int) -> Iterator[None]:
    """Let the broker refuse larger decisions of these tenants, for a while."""
    _limit_decisions(world, tenants, size)
    try:
        yield
    finally:
        _limit_decisions(world, tenants, DECISIONS.message_bytes_max)


def _limit_decisions(world: World, tenants: Sequence[Tenant], size: int) -> None:
    wanted = ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
    kind = ConfigResource.Type.TOPIC
    resources = [ConfigResource(kind, DECISIONS.of(t.name), incremental_configs=[wanted]) for t in tenants]
    with AdminClient({"bootstrap.servers": world.broker.bootstrap, "log_level": 0}) as admin:
        for done in admin.incremental_alter_configs(resources).values():
            done.result(PATIENCE_SECONDS)
