"""The cost of workflow state: calls that use attestations, delegations and the vault, beside plain calls.

`python -m bench.workflow [--quick]`. The whole fold is timed without a broker (step, signatures, sealing, changed
rows), each kind in turns with plain calls. A ratio is a kind's rate divided by that of the plain calls of the same
turn: the median over the turns. Then follow figures with many rows: the cost of a decision, the memory of a row, the
time of a restart.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from bench.tenant import BURST, DEPLOYMENT, POLICIES, RESOURCE, parameters
from processors.intake.identify import Received
from processors.proof.authoring import RANDOM_BYTES, Draft, draft_event, sign_drafts
from processors.proof.signing import NO_GENESIS, kid_of
from processors.state.tables import Tables
from producers.home.keys import KeyPair
from schemas import codec, limits
from schemas.events.attributes import NONE, Attributes
from schemas.events.tools import ToolDeclaration
from schemas.events.workflow import AttestationSet, ContextRead, ContextWritten, DelegationGranted
from schemas.records import (
    AuditEntry,
    Body,
    InvocationRequested,
    PolicyPublished,
    PrincipalRegistered,
    SessionOpened,
    TenantFounded,
)
from schemas.topics import AUDIT
from schemas.words import Outcome, Role
from streams.history.state_rows import row_key
from streams.worker.fold import TenantFold
from streams.worker.monitor import MonitoredTenant, build_fold
from streams.worker.signing.decision_keys import DecisionKeys
from streams.worker.state_head import StateMac

NAME = "workflow"
ATTESTED = "tool:bank/confirm"
AGENTS = ("anna", "bert", "carl", "dora")
SESSION_TTL_MS = 6 * 3600 * 1000
USES = 1_000_000  # more than any run has
BATCH = 256  # small enough for one transaction
RESTORE_SECONDS_MAX = 5.0


@dataclass(slots=True)
class Author:
    """A key that signs events. `session_id` is set for a session key."""

    key: KeyPair
    principal_id: str
    session_id: bytes | None = None
    seq: int = 0


@dataclass(slots=True)
class Site:
    """A tenant with four agents, a tool, and an attester; every event goes through the real fold."""

    genesis: bytes = NO_GENESIS
    monitor: KeyPair = field(default_factory=KeyPair.generate)
    admin: Author = field(default_factory=lambda: Author(KeyPair.generate(), "admin"))
    attester: Author = field(default_factory=lambda: Author(KeyPair.generate(), "scanner"))
    sessions: list[Author] = field(default_factory=list)
    offset: int = 0

    def draft(self, body: Body, by: Author, on_behalf_of: bytes | None = None) -> Draft:
        now_us = time.time_ns() // 1000
        by.seq = max(by.seq + 1, now_us)
        return draft_event(
            NAME, self.genesis, body, principal_id=by.principal_id, session_id=by.session_id, seq=by.seq,
            now_ms=now_us // 1000, random=os.urandom(RANDOM_BYTES), on_behalf_of=on_behalf_of,
        )  # fmt: skip

    def records(
        self, bodies: Sequence[Body], by: Author, burst: int = BURST, on_behalf_of: bytes | None = None
    ) -> list[Received]:
        """Return signed records with the next offsets, as a broker would deliver them."""
        made = []
        for at in range(0, len(bodies), burst):
            drafts = [self.draft(body, by, on_behalf_of) for body in bodies[at : at + burst]]
            for draft, headers in zip(drafts, sign_drafts(by.key.signing, drafts), strict=True):
                made.append(Received(0, self.offset, time.time_ns() // 1_000_000, draft.value, headers))
                self.offset += 1
        return made

    def say(self, fold: TenantFold, bodies: Sequence[Body], by: Author) -> None:
        """Fold events and commit them."""
        fold_all(fold, self.records(bodies, by, limits.HEAD_LEAVES_MAX))


def fold_all(fold: TenantFold, received: Sequence[Received]) -> None:
    """Fold records as the loop does: in batches, with signatures, sealing and changed rows."""
    at = 0
    while at < len(received):
        at += fold.fold(received[at : at + limits.BATCH_RECORDS_MAX])
        fold.take()
        fold.commit()


def found() -> tuple[Site, TenantFold, bytes]:
    """Return a site, its fold, and the last of three delegations that lead to the last agent."""
    site = Site()
    founding = TenantFounded(
        tenant=NAME, deployment=DEPLOYMENT, root_keys=(KeyPair.generate().signing.public,), root_threshold=1,
        next_root_digests=(), admin=site.admin.key.offer(Role.ADMIN, "admin", NO_GENESIS),
        monitor=site.monitor.offer(Role.MONITOR, "monitor", NO_GENESIS), development=False, salt=os.urandom(32),
    )  # fmt: skip
    first = site.records([founding], site.admin)
    site.genesis = kid_of((first[0].value or b"")[codec.FRAME_BYTES :])
    fold = build_fold(MonitoredTenant(NAME, DEPLOYMENT, site.genesis, DecisionKeys.of(site.monitor), bytes(32)))
    fold_all(fold, first)
    site.say(fold, list(_registrations(site)), site.admin)
    for name in AGENTS:
        site.sessions.append(_session(site, fold, name))
    delegation = _delegate(site, fold)
    attested = AttestationSet(session=_id(site.sessions[0]), key="checked", value="true", one_time=False, max_uses=USES)
    site.say(fold, [attested], site.attester)
    tables = fold.tables
    assert len(tables.sessions) == len(AGENTS), "the set-up was refused"
    assert len(tables.delegations) == len(AGENTS) - 1, "a delegation was refused"
    assert len(tables.attestations) == 1, "the attestation was refused"
    return site, fold, delegation


_AGENT_KEYS = {name: KeyPair.generate() for name in AGENTS}


def _registrations(site: Site) -> Iterator[Body]:
    attributes = Attributes(company="acme", roles=("payer",))
    for name, key in _AGENT_KEYS.items():
        yield PrincipalRegistered(
            role=Role.AGENT, key=key.offer(Role.AGENT, name, site.genesis), attributes=attributes, tools=()
        )
    tools = tuple(
        ToolDeclaration(resource=resource, description="Sends money.", timeout_ms=30_000, idempotent=False)
        for resource in (RESOURCE, ATTESTED)
    )
    yield PrincipalRegistered(
        role=Role.TOOL, key=KeyPair.generate().offer(Role.TOOL, "bank", site.genesis), attributes=NONE, tools=tools
    )
    may = Attributes(attests=("**",), subjects=("**",))
    yield PrincipalRegistered(
        role=Role.ATTESTER,
        key=site.attester.key.offer(Role.ATTESTER, "scanner", site.genesis),
        attributes=may,
        tools=(),
    )
    checked = {"policy_id": ATTESTED, "resources": [ATTESTED], "attestations": ["checked"]}
    documents = tuple(json.dumps(one) for one in (*POLICIES, checked))
    yield PolicyPublished(documents=documents, previous=(None,) * len(documents))


def _session(site: Site, fold: TenantFold, name: str) -> Author:
    key = KeyPair.generate()
    opened = SessionOpened(principal_id=name, key=key.offer(Role.SESSION, name, site.genesis), ttl_ms=SESSION_TTL_MS)
    site.say(fold, [opened], Author(_AGENT_KEYS[name], name))
    return Author(key, name, key.kid)


def _id(session: Author) -> bytes:
    assert session.session_id is not None
    return session.session_id


def _delegate(site: Site, fold: TenantFold) -> bytes:
    """Let each agent delegate to the next; return the leaf of the last."""
    leaf, expires_at = None, fold.tables.now + SESSION_TTL_MS - 60_000
    for giver, taker in zip(site.sessions, AGENTS[1:], strict=False):
        body = DelegationGranted(
            delegate=taker, parent=leaf, scope='{"resources":["tool:bank/*"]}',
            expires_at=expires_at, purpose="",
        )  # fmt: skip
        before = set(fold.tables.delegations.rows)
        site.say(fold, [body], giver)
        [leaf] = set(fold.tables.delegations.rows) - before
    assert leaf is not None
    return leaf


# ---- kinds


def kinds(site: Site, delegation: bytes) -> dict[str, Callable[[int, int], list[Received]]]:
    """Return for each kind of record a function (count, burst) that makes some."""
    first, last = site.sessions[0], site.sessions[-1]

    def calls(resource: str, by: Author, on_behalf_of: bytes | None = None) -> Callable[[int, int], list[Received]]:
        def make(count: int, burst: int) -> list[Received]:
            bodies = [
                InvocationRequested(resource=resource, parameters=text, intents=(), prompts=())
                for text in parameters(count)
            ]
            return site.records(bodies, by, burst, on_behalf_of)

        return make

    def written(count: int, burst: int) -> list[Received]:
        texts = [json.dumps({"note": text}) for text in parameters(count)]
        bodies = [ContextWritten(scope="session", key=f"k{n:06}", value=text) for n, text in enumerate(texts)]
        return site.records(bodies, first, burst)

    def read(count: int, burst: int) -> list[Received]:
        return site.records([ContextRead(scope="session", key=f"k{n:06}") for n in range(count)], first, burst)

    return {
        "plain call": calls(RESOURCE, first),
        "attested call": calls(ATTESTED, first),
        "vault set": written,
        "vault get": read,
        "delegated call, depth 3": calls(RESOURCE, last, delegation),
    }


def timed(fold: TenantFold, received: Sequence[Received]) -> float:
    """Return µs of this thread's CPU per record of one batch. The batch is rolled back; the state stays the same."""
    gc.collect()
    gc.freeze()  # existing objects must not be collected during the batch
    begin = time.thread_time_ns()
    folded = fold.fold(received)
    outputs = [output for burst in fold.batch.bursts for output in burst.outputs]
    fold.take()
    spent = time.thread_time_ns() - begin
    fold.rollback()
    values = (one.value for one in outputs if one.topic is AUDIT)
    outcomes = {codec.decode_as(AuditEntry, value).outcome for value in values if value is not None}
    assert outcomes <= {Outcome.ALLOWED, Outcome.ACCEPTED}, f"the fold said {outcomes}"
    return spent / folded / 1000


def compare(site: Site, fold: TenantFold, delegation: bytes, *, turns: int, count: int, burst: int) -> dict[str, float]:
    """Return for each kind the plain call's time divided by its own, the median over turns; for plain calls the µs."""
    made = kinds(site, delegation)
    times: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(turns):
        for name, make in made.items():
            times[name].append(timed(fold, make(count, burst)))
    told = {"plain call": statistics.median(times["plain call"])}
    for name in list(made)[1:]:
        told[name] = statistics.median(p / own for p, own in zip(times["plain call"], times[name], strict=True))
    return told


# ---- many rows


def fill(site: Site, fold: TenantFold, rows: int) -> dict[str, float]:
    """Create many attestations and vault keys; return the memory of a row of each, in bytes."""
    told = {}
    session, writer = site.sessions[1], site.sessions[1]
    many: dict[str, tuple[Author, Callable[[int], Body]]] = {
        "attestation": (
            site.attester,
            lambda n: AttestationSet(session=_id(session), key=f"step.{n}", value="true", one_time=True),
        ),
        "vault key": (writer, lambda n: ContextWritten(scope="session", key=f"m{n:07}", value='{"total":125.5}')),
    }
    for name, (by, body) in many.items():
        gc.collect()
        tracemalloc.start()
        begin = tracemalloc.get_traced_memory()[0]
        for at in range(0, rows, 8192):
            site.say(fold, [body(n) for n in range(at, min(at + 8192, rows))], by)
        gc.collect()
        told[name] = (tracemalloc.get_traced_memory()[0] - begin) / rows
        tracemalloc.stop()
    assert len(fold.tables.attestations) > rows, "attestations were refused"
    assert len(fold.tables.vault) >= rows, "writes were refused"
    return told


def restore_seconds(fold: TenantFold) -> tuple[int, float]:
    """Return the number of rows, and the seconds to read all of them into fresh tables."""
    stored = [
        (name, key, row_key(name, key), codec.frame(row))
        for name, table in fold.tables.by_name.items()
        for key, row in table.rows.items()
    ]
    tables = Tables(tenant=NAME, deployment=DEPLOYMENT, genesis=fold.tables.genesis)
    mac = StateMac(bytes(32))
    begin = time.thread_time()
    for name, key, full, value in stored:
        tables.by_name[name].restore(key, codec.decode(*codec.unframe(value)))
        mac.restore(full, value)
    return len(stored), time.thread_time() - begin


# ---- the report


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.workflow", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer turns, 10^4 rows")
    chosen = parser.parse_args()
    turns, rows = (9, 10_000) if chosen.quick else (25, 100_000)
    count = BATCH
    console = Console()
    site, fold, delegation = found()
    fold_all(fold, kinds(site, delegation)["vault set"](BATCH, BURST))  # the keys that are read below
    compare(site, fold, delegation, turns=2, count=count, burst=BURST)  # warm
    table = Table("kind", "lone", f"bursts of {BURST}", title="rate beside a plain call's in the same run (goal 0.8)")
    told = {burst: compare(site, fold, delegation, turns=turns, count=count, burst=burst) for burst in (1, BURST)}
    for name in told[1]:
        unit = " µs" if name == "plain call" else ""
        table.add_row(name, *(f"{told[burst][name]:.2f}{unit}" for burst in (1, BURST)))
    console.print(table)
    attested = kinds(site, delegation)["attested call"]
    before = statistics.median(timed(fold, attested(count, BURST)) for _ in range(turns))
    held = fill(site, fold, rows)
    after = statistics.median(timed(fold, attested(count, BURST)) for _ in range(turns))
    number, seconds = restore_seconds(fold)
    console.print(f"with {rows:,} attestations and {rows:,} vault keys: an attested call {after / before:.2f} times")
    console.print(", ".join(f"a row of {name} holds {size:,.0f} bytes" for name, size in held.items()))
    console.print(f"{number:,} rows read again in {seconds:.1f} s (goal {RESTORE_SECONDS_MAX:g})")


if __name__ == "__main__":
    main()
