"""The time of each stage of the fold, measured alone and without a broker. `python -m bench.stages`.

Every stage is called as the fold calls it, on the same inputs. Its time is CPU time of this thread, the best of several
passes over all records. "the whole fold" is timed as one; "the rest" is its time without those of the stages.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import json
import pstats
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from rich.console import Console
from rich.table import Table

from bench.floor import Floor
from bench.tenant import BURST, RESOURCE, BenchTenant, Signed
from processors.calls.judge import decide_call
from processors.calls.parameters import parse_parameters
from processors.effects import Effects, Output, output_place
from processors.evidence import audit_log
from processors.identity import registry
from processors.intake.identify import Claim, Received, event_place
from processors.intake.order import check_order
from processors.proof import signing
from processors.proof.sealing import payload_salt
from processors.proof.signing import KID_HEADER, PROOF_HEADER, Proof
from processors.step import step
from schemas import codec, limits
from schemas.records import AuditEntry, CallPayload, Decision, Event, InvocationRequested
from schemas.topics import DECISIONS
from schemas.words import Outcome
from streams.worker.fold import TenantFold
from streams.worker.monitor import build_fold

OUT = Path(__file__).parent / "out"
BATCH = limits.BATCH_RECORDS_MAX
PASSES = 15  # many short passes: on a busy machine the best of them is the closest to the true time


@dataclass(frozen=True, slots=True)
class Timing:
    """A stage with its CPU time for one record, in µs."""

    stage: str
    micros: float


class Case:
    """A tenant with its calls, and the inputs of each stage."""

    def __init__(self, burst: int, count: int, tenant: BenchTenant | None = None) -> None:
        self.tenant = tenant or BenchTenant("stages")
        first = len(self.tenant.set_up)
        self.received = [_received(first + i, e) for i, e in enumerate(self.tenant.calls(count, burst))]
        self.fold = self.fresh()
        tables = self.fold.tables
        split = [codec.unframe(r.value or b"") for r in self.received]
        self.bodies = [body for _, body in split]
        self.schema = split[0][0]
        self.events: list[Event] = [codec.decode(self.schema, body) for body in self.bodies]
        self.place = event_place(tables, self.schema)
        self.leaves = [self.place.leaf(body) for body in self.bodies]
        self.proofs = [Proof.parse(r.header(PROOF_HEADER)) for r in self.received]
        self.texts: list[str] = [e.body.parameters for e in self.events if isinstance(e.body, InvocationRequested)]
        self.parameters = [parse_parameters(text) for text in self.texts]
        [self.session_id] = tables.sessions.rows
        self.session = tables.sessions.rows[self.session_id]
        ours = self.fresh()
        self.outputs: list[Output] = [o for r in self.received for o in step(ours.tables, r, ours.heads)]
        self.decided = [o for o in self.outputs if o.topic is DECISIONS]
        self.decisions: list[Decision] = [codec.decode_as(Decision, o.value or b"") for o in self.decided]
        self.entries: list[AuditEntry] = [
            codec.decode_as(AuditEntry, o.value or b"") for o in self.outputs if o.topic is not DECISIONS
        ]
        self.call_rows = list(ours.tables.calls.rows.items())
        self.signed_leaves = [o.leaf for o in self.outputs if o.leaf is not None]

    def unread(self) -> list[Received]:
        """Return fresh copies of the records, because a record caches the result of reading it."""
        return [Received(r.partition, r.offset, r.appended_at, r.value, r.headers) for r in self.received]

    def fresh(self) -> TenantFold:
        """Return a fold that has folded the tenant's set-up."""
        fold = build_fold(self.tenant.monitored)
        for offset, event in enumerate(self.tenant.set_up):
            step(fold.tables, _received(offset, event), fold.heads)
        fold.take()  # the rows of the set-up must not count with the calls
        fold.commit()
        assert len(fold.tables.sessions) == 1, "the set-up was refused"
        return fold


def _received(offset: int, event: Signed) -> Received:
    return Received(0, offset, time.time_ns() // 1_000_000, event.value, event.headers)


def measure(burst: int, count: int) -> list[Timing]:
    """Return the stages' times for one record."""
    case = Case(burst, count)
    timings = [Timing(name, _best(make, count)) for name, make in _stages(case).items()]
    whole = _best(lambda: _fold_all(case), count)
    parts = sum(t.micros for t in timings if not t.stage.startswith("("))
    produce = _best(lambda: _produce_all(case), count)
    return [
        *timings,
        Timing("the rest: dispatch, dataclasses, journal, refusal handling", whole - parts),
        Timing("= the whole fold: step + messages + commit", whole),
        Timing("produce(): three calls into the client's queue", produce),
    ]


def _best(make: Callable[[], Callable[[], object]], count: int) -> float:
    """Return µs per record: the best of PASSES passes. `make` prepares the inputs of each pass and is not timed."""
    return min(_timed(make()) for _ in range(PASSES)) / count / 1000


def fold_micros(burst: int, count: int, tenants: Mapping[str, BenchTenant]) -> dict[str, float]:
    """Return the CPU time of the whole fold for one call (µs) of each tenant, measured by turns."""
    cases = {name: Case(burst, count, tenant) for name, tenant in tenants.items()}
    found: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(PASSES):
        for name, case in cases.items():
            found[name].append(_timed(_fold_all(case)))
    return {name: min(times) / count / 1000 for name, times in found.items()}


def _timed(run: Callable[[], object]) -> int:
    gc.collect()
    gc.freeze()  # the prepared objects must not be collected during the pass
    begin = time.thread_time_ns()
    run()
    return time.thread_time_ns() - begin


def _fold_all(case: Case) -> Callable[[], object]:
    fold = case.fresh()
    received = case.unread()

    def run() -> None:
        at = 0
        while at < len(received):
            at += fold.fold(received[at : at + BATCH])
            fold.take()
            fold.commit()

    return run


def _produce_all(case: Case) -> Callable[[], object]:
    fold = case.fresh()
    producer = Producer(  # there is no broker at this address: only the call itself is timed
        {"bootstrap.servers": "127.0.0.1:1", "queue.buffering.max.messages": 10_000_000, "log_level": 0}
    )
    made = []
    for at in range(0, len(case.received), BATCH):
        fold.fold(case.received[at : at + BATCH])
        made += fold.take()
        fold.commit()

    def run() -> None:
        for m in made:
            producer.produce(m.topic, m.value, m.key, m.partition, headers=list(m.headers))
        producer.purge()

    return run


def _stages(case: Case) -> dict[str, Callable[[], Callable[[], object]]]:
    return {
        "decode the event (Avro, records)": lambda: (
            lambda: [codec.decode(*codec.unframe(r.value or b"")) for r in case.received]
        ),
        "leaf hash of the event": lambda: (
            lambda: [
                event_place(case.fold.tables, case.schema, e.body).leaf(b)
                for e, b in zip(case.events, case.bodies, strict=True)
            ]
        ),
        "verify: proof, path, signature or known head": lambda: _verify(case),
        "(the signature check alone)": lambda: _signatures(case),
        "replay check and sequence row": lambda: _replay(case),
        "parameters: strict JSON, JCS, SHA-256": lambda: lambda: [parse_parameters(text) for text in case.texts],
        "policy: two layers": lambda: (
            lambda: [decide_call(case.fold.tables, case.session, RESOURCE, p.value) for p in case.parameters]
        ),
        "payload: encode, SHA-256, live keys": lambda: _payloads(case),
        "decision: encode, leaf": lambda: _decision(case),
        "seal": lambda: lambda: [case.fold.signatory.keys.first.sealer.header(o) for o in case.decided],
        "audit: entry, encode, two leaves": lambda: _audit(case),
        "call row: put": lambda: _call_rows(case),
        "state rows: encode, multiset hash, head": lambda: _state(case),
        "sign: tree, paths, one signature for 1024 leaves": lambda: (
            lambda: [
                case.fold.signatory.keys.first.signing.sign_leaves(case.signed_leaves[at : at + 2 * BATCH])
                for at in range(0, len(case.signed_leaves), 2 * BATCH)
            ]
        ),
    }


def _verify(case: Case) -> Callable[[], object]:
    heads = case.fresh().heads
    key = case.session.ed25519

    def run() -> None:
        for received, leaf in zip(case.received, case.leaves, strict=True):
            proof = Proof.parse(received.header(PROOF_HEADER))
            heads.verify(key, proof.head(leaf), proof.signature)

    return run


def _signatures(case: Case) -> Callable[[], object]:
    key = case.session.ed25519
    heads = {p.signature: p.head(leaf) for p, leaf in zip(case.proofs, case.leaves, strict=True)}

    def run() -> None:
        for signature, head in heads.items():
            signing.verify_signature(key, head, signature)

    return run


def _replay(case: Case) -> Callable[[], object]:
    tables = case.fresh().tables

    def run() -> None:
        for event, leaf in zip(case.events, case.leaves, strict=True):
            check_order(tables, case.session_id, event.header, leaf)

    return run


def _payloads(case: Case) -> Callable[[], object]:
    tables = case.fresh().tables

    def run() -> None:
        for received, event, leaf, p in zip(case.received, case.events, case.leaves, case.parameters, strict=True):
            registry.live_keys(tables, "bank")
            payload = codec.encode(
                CallPayload(
                    salt=payload_salt(leaf, event.header.salt),
                    event=received.value or b"",
                    proof=received.header(PROOF_HEADER),
                    kid=received.header(KID_HEADER),
                    parameters=p.canonical.decode(),
                    session=case.session.opened,
                )
            )
            sha256(payload).digest()

    return run


def _decision(case: Case) -> Callable[[], object]:
    tables = case.fresh().tables

    def run() -> None:
        for output, decision in zip(case.decided, case.decisions, strict=True):
            topic = DECISIONS.of(tables.tenant_id)
            place = output_place(signing.DECISION_TAG, tables.genesis, topic, output.partition, "Decision")
            place.leaf(codec.encode(decision))

    return run


def _audit(case: Case) -> Callable[[], object]:
    tables = case.fresh().tables
    claims = [
        Effects(tables, r, Claim(leaf, "InvocationRequested", e.header.session_id, e.header.event_id))
        for r, e, leaf in zip(case.received, case.events, case.leaves, strict=True)
    ]
    for effects, output in zip(claims, case.decided, strict=True):
        effects.leaves.append(output.leaf or b"")

    def run() -> None:
        for effects in claims:
            audit_log.append_entry(tables, effects, Outcome.ALLOWED, "")

    return run


def _call_rows(case: Case) -> Callable[[], object]:
    tables = case.fresh().tables

    def run() -> None:
        for key, row in case.call_rows:
            tables.calls.put(key, row)

    return run


def _state(case: Case) -> Callable[[], object]:
    fold = case.fresh()

    def run() -> None:
        for at in range(0, len(case.call_rows), BATCH):
            for key, row in case.call_rows[at : at + BATCH]:
                fold.tables.calls.put(key, row)
            [*fold.state.rows_of(fold.tables)]
            fold.tables.prepare()
            fold.commit()

    return run


def _show(lone: Sequence[Timing], bursts: Sequence[Timing], floor: float) -> None:
    table = Table(title=f"µs of CPU for each call; this CPU verifies {floor:,.0f} signatures a second")
    table.add_column("stage")
    table.add_column("lone", justify="right")
    table.add_column(f"bursts of {BURST}", justify="right")
    for one, many in zip(lone, bursts, strict=True):
        table.add_row(one.stage, f"{one.micros:.1f}", f"{many.micros:.1f}")
    Console(width=110).print(table)


def _profile(burst: int, count: int) -> None:
    run = _fold_all(Case(burst, count))
    profiler = cProfile.Profile()
    profiler.runcall(run)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(35)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.stages", description=__doc__)
    parser.add_argument("--count", type=int, default=1024, help="records in a pass")
    parser.add_argument("--profile", action="store_true", help="print what cProfile says of the whole fold instead")
    chosen = parser.parse_args(arguments)
    if chosen.profile:
        for burst in (1, BURST):
            _profile(burst, chosen.count)
        return
    floor = Floor()
    floor.sample(0.5)
    lone, bursts = measure(1, chosen.count), measure(BURST, chosen.count)
    rate = floor.sample(0.5)
    _show(lone, bursts, rate)
    OUT.mkdir(exist_ok=True)
    found: dict[str, Any] = {"floor_per_s": rate}
    found |= {f"{name}.{t.stage}": t.micros for name, all_ in (("lone", lone), ("burst", bursts)) for t in all_}
    (OUT / "stages.json").write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
