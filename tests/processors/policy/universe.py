"""The small universe of `tests.reference.mapl.universe` before the engine: does any extension raise an outcome?

`python -m tests.processors.policy.universe` decides every triple of base, extension and call with
`processors.policy.decide.decide` and prints how many there were and which raise an outcome although the theorem of
docs/mapl.md 5 says that none does. `--bases N` takes so many of the 2,100 bases, spread over the universe.
"""

import argparse
import dataclasses
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from macaw.policies.case_tables import CaseAttestations
from processors.calls.parameters import parse_parameters
from processors.policy.call import Circumstances
from processors.policy.compiled import CompiledPolicy, compile_policy
from processors.policy.decide import decide, index_policies
from processors.policy.delegation import Hop, parse_scope
from processors.policy.documents import parse_policy
from processors.policy.errors import PolicyError
from processors.policy.evaluation import Approval, Cell, Evaluation, Lookups, Record, Session, Settings, new_work
from processors.policy.index import PolicyIndex
from processors.policy.patterns import resource_name
from processors.policy.rates import bucket_prefix
from processors.policy.resolve import Subject
from processors.policy.sequences import Write, marks_of
from processors.policy.verdict import RANK, Verdict
from processors.proof.jcs import JSONValue
from schemas.words import Outcome
from tests.processors.policy.written import iso
from tests.reference.mapl import universe, world
from tests.reference.mapl.universe_parts import CALLS, ENTRIES, HOPS, INTENTS, NEW_DOCUMENTS, SUBJECTS, CallCase

RESOURCE = "tool:a/x"
SESSION = "session-1"
BASES_AT_ONCE = 50
STRIDE = 1009  # a prime: an even walk would take the same choice in a slot again and again
Decide = Callable[[PolicyIndex, list[Subject] | Subject, str, dict[str, JSONValue], Circumstances], Verdict]
Deciding = Callable[[CallCase], Verdict]


@dataclass
class Found:
    """What a search met. `unpublishable` are triples whose added document no log would take."""

    triples: int = 0
    unpublishable: int = 0
    raised: list[universe.Violation] = field(default_factory=list)
    before: Counter[Outcome] = field(default_factory=Counter)

    def add(self, other: "Found") -> None:
        self.triples += other.triples
        self.unpublishable += other.unpublishable
        self.raised += other.raised
        self.before += other.before


# ---- the parts, as the engine has them


@cache
def compiled(text: str) -> CompiledPolicy | None:
    """Return a document ready to be asked, None where a log refuses it."""
    try:
        return compile_policy(parse_policy(text.encode(), organisation=True))
    except PolicyError:
        return None


@cache
def subject(name: str) -> Subject:
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in SUBJECTS[name].items()}
    return Subject(**values)  # type: ignore[arg-type]


@cache
def parameters(text: str) -> dict[str, JSONValue]:
    return parse_parameters(text).value


class Everything(frozenset[str]):
    """The keys that a resumed call waited for: all that it needs."""

    def __contains__(self, _key: object) -> bool:
        return True


class Held(CaseAttestations):
    """What a case has attested, read once: nothing is used up between decisions."""

    def __init__(self, records: Iterable[world.Record]) -> None:
        super().__init__([_row(record) for record in records])
        self._records: dict[str, list[Record]] = {}
        self._approvals: dict[str, list[Approval]] = {}

    def records(self, key: str) -> list[Record]:
        if key not in self._records:
            self._records[key] = super().records(key)
        return self._records[key]

    def approvals(self, key: str) -> list[Approval]:
        if key not in self._approvals:
            self._approvals[key] = super().approvals(key)
        return self._approvals[key]


def _row(record: world.Record) -> dict[str, Any]:
    row = {name: value for name, value in dataclasses.asdict(record).items() if value is not None}
    by = [{"user": user, "is": criteria} for user, criteria in record.by]
    return row | {"at": iso(record.at), "setter": record.setter or "", "by": by}


_HELD = {id(case): Held(case.records) for case in CALLS}
_BUCKETS = {
    id(case): {bucket_prefix(user) + policy_id.encode(): tat for (user, policy_id), tat in case.buckets.items()}
    for case in CALLS
}


def _cells(index: PolicyIndex, case: CallCase) -> dict[bytes, Cell]:
    """Return what earlier calls of the case left for rules of these documents: a taint."""
    cells: dict[bytes, Cell] = {}
    if not case.history:
        return cells
    for policy in index.sequenced:
        for past in case.history:
            name = resource_name(past.resource)
            earlier = Evaluation(
                {}, subject(case.subject), name, past.at, Session(past.session), Lookups(), new_work(), None
            )
            for rule in policy.document.sequence:
                mark = marks_of(rule, policy.policy_id, earlier) if rule.marks(name) else None
                if isinstance(mark, Write):
                    cells[mark.key] = mark.cell
    return cells


# ---- a base, and what is added to it


def deciding(
    deciders: Decide, index: PolicyIndex, intents: tuple[str, ...] = (), hop: world.Hop | None = None
) -> Deciding:
    """Return how the engine decides the cases under some documents."""

    def verdict(case: CallCase) -> Verdict:
        layers = case.settings.get("required_layers")
        signer = subject(case.subject)
        hops, subjects = (), signer
        if hop is not None:
            root = subject(hop.delegator)
            scope = parse_scope(json.dumps(hop.scope).encode())
            hops = (Hop(delegator=root.principal, delegate=signer.principal, scope=scope, expires_at=hop.expires),)
            subjects = [root, signer]
        buckets = _BUCKETS[id(case)]
        call = Circumstances(
            now=case.now,
            session=Session(SESSION, "local", is_delegated=bool(hops), delegation_depth=len(hops)),
            tables=Lookups(lambda key: buckets.get(key, 0), _cells(index, case).get, _HELD[id(case)]),
            settings=Settings(
                bool(case.settings.get("strict_parameters")),
                None if layers is None else frozenset(layers),  # type: ignore[call-overload]
            ),
            intents=intents,
            hops=hops,
            resumed=Everything() if case.resumed else None,
        )
        return deciders(index, subjects, RESOURCE, parameters(case.params), call)

    return verdict


def index_of(documents: dict[str, dict[str, object]]) -> PolicyIndex | None:
    """Return the index of some documents, None where one of them could not be published."""
    policies = {policy_id: compiled(json.dumps(body)) for policy_id, body in documents.items()}
    taken = {policy_id: policy for policy_id, policy in policies.items() if policy is not None}
    return index_policies(taken) if len(taken) == len(policies) else None


def extended(
    deciders: Decide, index: PolicyIndex, documents: dict[str, dict[str, object]], extension: universe.Extension
) -> Deciding | None:
    """Return how the cases are decided with the extension, None where it could not be published."""
    kind, at = extension
    if kind == "intent":
        return deciding(deciders, index, intents=(json.dumps(INTENTS[at]),))
    if kind == "hop":
        return deciding(deciders, index, hop=HOPS[at])
    policy_id, body = NEW_DOCUMENTS[at] if kind == "document" else ENTRIES[at]
    if kind == "entry":
        body = universe.added(documents[policy_id], body)
    wider = index_of(documents | {policy_id: {"policy_id": policy_id} | body})
    return None if wider is None else deciding(deciders, wider)


# ---- the search


def search(bases: Iterable[int], deciders: Decide = decide) -> Found:
    """Decide every triple of these bases. A call without the extension is decided once."""
    found = Found()
    for base in bases:
        for one, before, after in _triples(base, deciders, found):
            found.triples += 1
            found.before[before.outcome] += 1
            if RANK[after.outcome] > RANK[before.outcome] and before.reason != universe.EXCEPTION:
                found.raised.append(universe.Violation(one.code, before.reason, after.reason or "ALLOWED"))
    return found


def _triples(base: int, deciders: Decide, found: Found) -> Iterator[tuple[universe.Triple, Verdict, Verdict]]:
    documents = universe.base_documents(base)
    index = index_of(documents)
    assert index is not None, "a base holds only documents that can be published"
    plain = deciding(deciders, index)
    before = [plain(case) for case in CALLS]
    for number, extension in enumerate(universe.extensions(base)):
        wider = extended(deciders, index, documents, extension)
        if wider is None:
            found.unpublishable += len(CALLS)
            continue
        for at, case in enumerate(CALLS):
            yield universe.Triple(base, number, at), before[at], wider(case)


def spread(count: int | None = None) -> list[int]:
    """Return all bases, or so many of them, always the same."""
    total = universe.bases()
    return list(range(total)) if count is None or count >= total else [at * STRIDE % total for at in range(count)]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.processors.policy.universe", description=__doc__)
    parser.add_argument("--bases", type=int, help="how many of the bases; all of them without")
    parser.add_argument("--processes", type=int, default=2)
    chosen = parser.parse_args(arguments)
    bases = spread(chosen.bases)
    started = time.monotonic()
    found = Found()
    with ProcessPoolExecutor(chosen.processes) as pool:
        for part in pool.map(search, (bases[at : at + BASES_AT_ONCE] for at in range(0, len(bases), BASES_AT_ONCE))):
            found.add(part)
    for violation in found.raised:
        print(violation)
    shares = ", ".join(f"{100 * count / found.triples:.0f} % {name}" for name, count in found.before.most_common())
    print(f"universe {universe.size()}, bases {len(bases)} of {universe.bases()}; before the extension {shares}")
    print(f"decided {found.triples}, not publishable {found.unpublishable}, violations {len(found.raised)}")
    print(f"{time.monotonic() - started:.0f} s")
    return 1 if found.raised else 0


if __name__ == "__main__":
    sys.exit(main())
