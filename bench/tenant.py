"""A tenant as a list of signed events, which the benchmark gives to a worker, with or without a broker.

One agent with one session calls one tool. Two policy layers judge each call: a role's, with constraints on parameters,
and a company's, with denied resources. Every call is allowed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from processors.effects import output_place
from processors.proof import signing
from processors.proof.authoring import RANDOM_BYTES, Draft, draft_event, sign_drafts
from processors.proof.signing import NO_GENESIS, kid_of
from processors.state.engine import ENGINE
from processors.state.engines import installed
from producers.home.keys import KeyPair
from schemas import codec
from schemas.events.attributes import NONE, Attributes
from schemas.events.tenancy import LimitsSet, TenantSetting
from schemas.events.tools import ToolDeclaration
from schemas.records import (
    Body,
    Decision,
    InvocationRequested,
    PolicyPublished,
    PrincipalRegistered,
    ResultReported,
    SessionOpened,
    TenantFounded,
)
from schemas.topics import DECISIONS
from schemas.words import Outcome, Role
from streams.worker.monitor import MonitoredTenant
from streams.worker.signing.decision_keys import DecisionKeys

DEPLOYMENT = "bench"
AGENT, TOOL, RESOURCE = "shopper", "bank", "tool:bank/transfer"
BURST = 64
SESSION_TTL_MS = 6 * 3600 * 1000

POLICIES = (
    {
        "policy_id": "role:payer",
        "resources": ["tool:bank/*", "tool:books/read*"],
        "denied_resources": ["tool:bank/close_account"],
        "constraints": {
            "parameters": {
                "tool:bank/*": {"currency": {"allowed_values": ["EUR", "USD", "GBP"], "required": True}},
                "tool:bank/transfer": {"to": ["alice", "bob", "carol"], "urgent": [False]},
            }
        },
    },
    {"policy_id": "company:acme", "denied_resources": ["tool:bank/admin*", "tool:payroll/*", "tool:*/delete*"]},
)


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed event as it is appended to intake."""

    event_id: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


@dataclass(slots=True)
class Author:
    """A key that signs events of one tenant."""

    tenant: str
    genesis: bytes
    key: KeyPair
    principal_id: str
    session_id: bytes | None = None
    seq: int = 0

    def sign(self, bodies: Sequence[Body], burst: int = 1, causes: Sequence[bytes] | None = None) -> list[Signed]:
        """Return the events of these bodies, `burst` of them under each head, each with its cause if given."""
        signed: list[Signed] = []
        for at in range(0, len(bodies), burst):
            whys = causes[at : at + burst] if causes else [None] * burst
            drafts = [self._draft(body, why) for body, why in zip(bodies[at : at + burst], whys, strict=False)]
            headers = sign_drafts(self.key.signing, drafts)
            signed += [Signed(d.event_id, d.value, h) for d, h in zip(drafts, headers, strict=True)]
        return signed

    def _draft(self, body: Body, cause: bytes | None) -> Draft:
        now_us = time.time_ns() // 1000
        self.seq = max(self.seq + 1, now_us)
        return draft_event(
            self.tenant,
            self.genesis,
            body,
            principal_id=self.principal_id,
            session_id=self.session_id,
            seq=self.seq,
            now_ms=now_us // 1000,
            random=os.urandom(RANDOM_BYTES),
            causation_id=cause,
        )


class BenchTenant:
    """Keys, founding and calls of one tenant.

    With `settings` it is founded with the newest engine, and has them. Its tool declares `schema`, if that is given.
    """

    def __init__(self, name: str, settings: Mapping[str, str] | None = None, schema: str | None = None) -> None:
        self.name = name
        self._settings, self._schema = settings, schema
        self.monitor = KeyPair.generate()
        admin, agent, tool, session = (KeyPair.generate() for _ in range(4))
        founding, self.genesis = self._founding(admin)
        self._admin = Author(name, self.genesis, admin, "admin")
        self._agent = Author(name, self.genesis, agent, AGENT)
        self._session = Author(name, self.genesis, session, AGENT, session.kid)
        self._tool = Author(name, self.genesis, tool, TOOL)
        self.set_up = [
            founding,
            *self._admin.sign(self._acts(agent, tool)),
            *self._agent.sign([self._opening(session)]),
        ]

    @property
    def monitored(self) -> MonitoredTenant:
        """Return the tenant's configuration on a worker."""
        return MonitoredTenant(self.name, DEPLOYMENT, self.genesis, DecisionKeys.of(self.monitor), bytes(32))

    def said(self, body: Body, *, admin: bool = False) -> Signed:
        """Return an event of the agent's session, or of the administrator."""
        [signed] = (self._admin if admin else self._session).sign([body])
        return signed

    def calls(self, count: int, burst: int) -> list[Signed]:
        """Return `count` calls with about 400 bytes of parameters each."""
        bodies = [
            InvocationRequested(resource=RESOURCE, parameters=p, intents=(), prompts=()) for p in parameters(count)
        ]
        return self._session.sign(bodies, burst)

    def reports(self, decisions: Sequence[tuple[bytes, bytes]], burst: int) -> list[Signed]:
        """Return the tool's report on each decision. A decision is given as its leaf and the leaf of its call."""
        body = json.dumps({"sent": True, "reference": "TX-2041-77", "balance": "1204.50"}, separators=(",", ":"))
        ok = ResultReported(decision=b"", outcome=Outcome.OK, body=body, attestations=())
        reports = [replace(ok, decision=leaf) for leaf, _ in decisions]
        return self._tool.sign(reports, burst, [call for _, call in decisions])

    def decision_leaf(self, partition: int, value: bytes) -> tuple[bytes, bytes]:
        """Return the leaf of a decision, from its record, and the leaf of its call."""
        topic = DECISIONS.of(self.name)
        place = output_place(signing.DECISION_TAG, self.genesis, topic, partition, "Decision")
        return place.leaf(value[codec.FRAME_BYTES :]), codec.decode_as(Decision, value).event

    def _founding(self, admin: KeyPair) -> tuple[Signed, bytes]:
        newest = {} if self._settings is None else {"engine": ENGINE, "data": installed()[ENGINE].data}
        body = TenantFounded(
            **newest,
            tenant=self.name,
            deployment=DEPLOYMENT,
            root_keys=(KeyPair.generate().signing.public,),
            root_threshold=1,
            next_root_digests=(),
            admin=admin.offer(Role.ADMIN, "admin", NO_GENESIS),
            monitor=self.monitor.offer(Role.MONITOR, "monitor", NO_GENESIS),
            development=False,
            salt=os.urandom(32),
        )
        [founding] = Author(self.name, NO_GENESIS, admin, "admin").sign([body])
        return founding, kid_of(founding.value[codec.FRAME_BYTES :])

    def _acts(self, agent: KeyPair, tool: KeyPair) -> list[Body]:
        attributes = Attributes(company="acme", roles=("payer",))
        declared = ToolDeclaration(
            resource=RESOURCE,
            description="Sends money.",
            timeout_ms=30_000,
            idempotent=False,
            input_schema=self._schema,
        )
        offers = (agent.offer(Role.AGENT, AGENT, self.genesis), tool.offer("tool", TOOL, self.genesis))
        documents = tuple(json.dumps(policy) for policy in POLICIES)
        settings = tuple(TenantSetting(name=name, value=value) for name, value in (self._settings or {}).items())
        return [
            *([LimitsSet(limits=(), settings=settings)] if settings else []),
            PrincipalRegistered(role=Role.AGENT, key=offers[0], attributes=attributes, tools=()),
            PrincipalRegistered(role=Role.TOOL, key=offers[1], attributes=NONE, tools=(declared,)),
            PolicyPublished(documents=documents, previous=(None,) * len(documents)),
        ]

    def _opening(self, session: KeyPair) -> SessionOpened:
        offer = session.offer(Role.SESSION, AGENT, self.genesis)
        return SessionOpened(principal_id=AGENT, key=offer, ttl_ms=SESSION_TTL_MS)


def parameters(count: int) -> Iterator[str]:
    """Yield `count` different JSON texts of about 400 bytes."""
    people = ("alice", "bob", "carol")
    for number in range(count):
        value = {
            "to": people[number % 3],
            "amount": number + 0.25,
            "currency": "EUR",
            "urgent": False,
            "invoice": f"2041-{number:07d}",
            "memo": "Payment for the second delivery of the month, as agreed with the buyer on the phone",
            "account": {"iban": "DE02120300000000202051", "bic": "BYLADEM1001", "holder": "Example Trading GmbH"},
            "lines": [{"sku": "A-100", "count": 3}, {"sku": "B-7", "count": 12}, {"sku": "C-21", "count": 1}],
            "tags": ["delivery", "monthly", "approved"],
            "due": "2041-07-31",
        }
        yield json.dumps(value, separators=(",", ":"))
