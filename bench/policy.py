"""The cost of a decision, in units of one strict signature check of the same run: `python -m bench.policy`.

The case: five documents, ten constraints (one of them a regular expression, one a list with a star), one condition on
the time, two rate limits, and ten thousand different parameter sets. Times are CPU time of this thread, the best of
several passes. The signature check is measured before, between and after, because a busy machine changes its speed. The
same run then measures the case in other engines (`bench.policy_peers`), if they are installed.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from nacl import bindings
from rich.console import Console
from rich.table import Table

from bench.policy_peers import Peer, Request, deviations, peers
from processors.calls.parameters import parse_parameters
from processors.identity.attributes import subject_of
from processors.policy import decide as deciding
from processors.policy.call import Circumstances
from processors.policy.compiled import compile_policy
from processors.policy.documents import parse_policy
from processors.policy.evaluation import Lookups, Session
from processors.policy.index import PolicyIndex, StoredPolicy, index_stored
from schemas.events.attributes import Attributes
from schemas.words import Outcome

NOW = 1_772_463_600_000  # 2026-03-02T15:00:00Z, ten o'clock in New York
PASSES = 7
RESOURCE = "tool:bank/transfer"
OFFICE_HOURS = "time.hour('America/New_York') >= 9 AND time.hour('America/New_York') < 18"

POLICIES: tuple[dict[str, Any], ...] = (
    {
        "policy_id": "role:payer",
        "resources": ["tool:bank/*", "tool:books/read*"],
        "denied_resources": ["tool:bank/close_account"],
        "constraints": {
            "rate_limit": 1_000_000,
            "parameters": {
                "tool:bank/*": {
                    "currency": {"allowed_values": ["EUR", "USD", "GBP"], "required": True},
                    "amount": {"min": 0, "max": 10_000_000},
                    "invoice": {"pattern": "[0-9]{4}-[0-9]{7}"},
                },
                "tool:bank/transfer": {"urgent": [False], "memo": {"max_length": 200}},
            },
        },
    },
    {
        "policy_id": "company:acme",
        "denied_resources": ["tool:bank/admin*", "tool:payroll/*", "tool:*/delete*"],
        "constraints": {
            "rate_limit": 900_000,
            "parameters": {"tool:bank/*": {"reference": ["TX-*", "RF-*"], "due": {"type": "string"}}},
        },
    },
    {
        "policy_id": "restrict:bu:treasury",
        "resources": ["tool:**"],
        "attestations": [f"deny::{{NOT ({OFFICE_HOURS})}}"],
        "constraints": {"parameters": {"tool:bank/*": {"tags": {"max_items": 5}}}},
    },
    {
        "policy_id": "user:ann@acme.example",
        "resources": ["tool:bank/**"],
        "constraints": {"parameters": {"tool:bank/transfer": {"to": ["alice", "bob", "carol"]}}},
    },
    {
        "policy_id": "tool:bank/transfer",
        "resources": ["tool:bank/transfer"],
        "constraints": {"parameters": {"tool:bank/transfer": {"lines": {"type": "integer", "max": 40}}}},
    },
)
ATTRIBUTES = Attributes(
    company="acme", business_unit="Treasury", team="Payments", user="ann@acme.example", roles=("payer",)
)


def parameters(count: int) -> list[dict[str, Any]]:
    """Return `count` different parameter sets, parsed as in a call."""
    people = ("alice", "bob", "carol")
    texts = (
        {
            "to": people[number % 3],
            "amount": number + 0.25,
            "currency": "EUR",
            "urgent": False,
            "invoice": f"2041-{number:07d}",
            "reference": f"TX-{number}",
            "memo": "Payment for the second delivery of the month, as agreed with the buyer",
            "lines": 3,
            "tags": ["delivery", "monthly"],
            "due": "2041-07-31",
        }
        for number in range(count)
    )
    return [parse_parameters(json.dumps(text)).value for text in texts]


def stored(documents: Sequence[dict[str, Any]]) -> list[StoredPolicy]:
    """Return documents as rows of a tenant's table."""
    texts = [json.dumps(document) for document in documents]
    parsed = [parse_policy(text.encode()) for text in texts]
    return [StoredPolicy(p.policy_id, p.digest, text, p.extends) for p, text in zip(parsed, texts, strict=True)]


class Bench:
    """The case, with the tables of a tenant that it needs."""

    def __init__(self, count: int) -> None:
        self.parameters = parameters(count)
        self.buckets: dict[bytes, int] = {}
        self.index = index_stored(stored(POLICIES))

    def decisions(self, index: PolicyIndex, resources: Sequence[str]) -> Callable[[], None]:
        """Return a run that decides every parameter set, the resources in turn, and charges the buckets."""
        buckets, number = self.buckets, len(resources)
        tables = Lookups(buckets=lambda key: buckets.get(key, 0))
        session = Session(session_id="5" * 64)

        def run() -> None:
            for at, values in enumerate(self.parameters):
                subject = subject_of(ATTRIBUTES, "user", "user:ann")
                call = Circumstances(now=NOW + at, session=session, tables=tables)
                verdict = deciding.decide(index, subject, resources[at % number], values, call)
                for key, arrival in verdict.effects.buckets:
                    buckets[key] = arrival
                assert verdict.outcome == Outcome.ALLOWED, verdict

        return run


def best(run: Callable[[], object], count: int, passes: int = PASSES) -> float:
    """Return µs of CPU per item, for `count` items: the best of `passes` runs."""
    found = []
    for _ in range(passes):
        gc.collect()
        gc.freeze()  # the prepared objects must not be collected during the run
        begin = time.thread_time_ns()
        run()
        found.append(time.thread_time_ns() - begin)
    return min(found) / count / 1000


def signature_check() -> float:
    """Return µs of one strict Ed25519 verification."""
    public, secret = bindings.crypto_sign_seed_keypair(bytes(32))
    message = b"macaw/head/v1\n" + bytes(36)
    signed = bindings.crypto_sign(message, secret)

    def run() -> None:
        for _ in range(1000):
            bindings.crypto_sign_open(signed, public)

    return best(run, 1000)


def measure(count: int) -> list[tuple[str, float, float]]:
    """Return (name, µs, ratio to a signature check) of each figure."""
    bench = Bench(count)
    verification = [signature_check()]
    rows = [("known resource", best(bench.decisions(bench.index, [RESOURCE]), count))]
    verification.append(signature_check())
    rows.append(("unseen resource", _unseen(bench, count)))
    rows.append(("five more patterns, each", (_with_patterns(bench, count) - rows[0][1]) / 5))
    for others in (10, 10_000):
        index = index_stored(stored([*POLICIES, *_others(others)]))
        rows.append(
            (f"known resource, {others} policies that do not apply", best(bench.decisions(index, [RESOURCE]), count))
        )
    verification.append(signature_check())
    rows.append(("compile one policy", _compiling()))
    unit = min(verification)
    return [("one strict Ed25519 verification", unit, 1.0), *((what, us, us / unit) for what, us in rows)]


def _unseen(bench: Bench, count: int) -> float:
    """Time resource names that were never asked before: the cache is empty at the start of every pass."""
    wide = [
        {**document, "resources": ["tool:bank/**"]} if "resources" in document else document for document in POLICIES
    ]
    index = index_stored(stored(wide))
    passes = ([f"tool:bank/transfer/{at}-{number}" for number in range(count)] for at in range(PASSES))
    return min(best(bench.decisions(index, names), count, passes=1) for names in passes)


def _with_patterns(bench: Bench, count: int) -> float:
    names = ("memo", "due", "reference", "currency", "to")
    more = {
        "policy_id": "team:Payments",
        "constraints": {"parameters": {name: {"pattern": "[^<>]*"} for name in names}},
    }
    return best(bench.decisions(index_stored(stored([*POLICIES, more])), [RESOURCE]), count)


def _others(count: int) -> list[dict[str, Any]]:
    return [dict(POLICIES[number % 5], policy_id=f"user:other{number}@acme.example") for number in range(count)]


def _compiling() -> float:
    texts = [json.dumps(document).encode() for document in _others(1000)]

    def run() -> None:
        for text in texts:
            compile_policy(parse_policy(text))

    return best(run, len(texts), passes=1)


# ---- other engines


def compare(count: int, rows: Sequence[tuple[str, float, float]]) -> tuple[list[tuple[str, float, float]], list[Peer]]:
    """Return our rows beside those of the peers that are installed, and these peers."""
    found = list(peers())
    unit = rows[0][1]
    timed = [(peer.name, _peer(peer, count)) for peer in found]
    ours = [(f"ours, {what}", us, ratio) for what, us, ratio in rows if what in ("known resource", "unseen resource")]
    return [*ours, *((name, us, us / unit) for name, us in timed)], found


def _peer(peer: Peer, count: int) -> float:
    """Time a peer on the same parameter sets. A peer has no cache that depends on the resource name."""
    requests = [peer.prepare(Request(RESOURCE, values)) for values in parameters(count)]

    def run() -> None:
        for request in requests:
            assert peer.allows(request)

    return best(run, count, passes=3)


def let_pass(found: Sequence[Peer]) -> list[tuple[str, list[bool]]]:
    """Return, for each call that our documents refuse, True for each peer that lets it pass."""
    (values,) = parameters(1)
    return [
        (what, [peer.allows(peer.prepare(request)) for peer in found])
        for what, request in deviations(Request(RESOURCE, values))
    ]


# ---- the command


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.policy", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="parameter sets")
    chosen = parser.parse_args(arguments)
    rows = measure(chosen.count)
    show("CPU time, and its ratio to one signature check of the same run", rows)
    compared, found = compare(chosen.count, rows)
    show("The same case in other engines", compared)
    if found:
        table = Table(title="Calls that our documents refuse")
        for heading in ("changed", *(peer.name for peer in found)):
            table.add_column(heading)
        for what, passes in let_pass(found):
            table.add_row(what, *("lets pass" if one else "refuses" for one in passes))
        Console(width=100).print(table)


def show(title: str, rows: Sequence[tuple[str, float, float]]) -> None:
    table = Table(title=title)
    for heading in ("what", "µs", "ratio"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for what, micros, ratio in rows:
        table.add_row(what, f"{micros:.2f}", f"{ratio:.2f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
