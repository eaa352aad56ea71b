"""A small universe of (base, extension, call) triples for the theorem of docs/mapl.md 5.

A base is up to five documents, an extension adds one document outside the role branches, one entry to a restriction,
one intent or one delegation hop, and a call is a subject, parameters and tables. Every triple has a number and a short
code ("base-extension-call"); the same number is the same triple on every machine. Nothing is built before it is asked
for. `python -m tests.reference.mapl.universe [LIMIT | FROM TO]` runs the search over the reference evaluator.
"""

import copy
import dataclasses
import json
import sys
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from math import gcd, prod

from tests.reference.mapl.deciding import RANK, evaluate
from tests.reference.mapl.universe_parts import BASES, CALLS, ENTRIES, HOPS, INTENTS, NEW_DOCUMENTS, SUBJECTS, document
from tests.reference.mapl.world import Call, Verdict, World

EXCEPTION = "NO_POLICY"  # the theorem's own: the first explicit grant
STRIDE = 7_368_787  # a prime: walking in steps of it spreads a sample over the whole universe

Evaluate = Callable[[World, Call], Verdict]
Extension = tuple[str, int]  # ("document" | "entry" | "intent" | "hop", number)


@dataclass(frozen=True)
class Triple:
    """Which base, which of its extensions, which call."""

    base: int
    extension: int
    call: int

    @property
    def code(self) -> str:
        return f"{self.base:x}-{self.extension:x}-{self.call:x}"


@dataclass(frozen=True)
class Violation:
    """An extension that raised the outcome although the theorem says that none does."""

    code: str
    before: str
    after: str


def bases() -> int:
    return prod(len(choices) + 1 for choices in BASES.values())


def base_documents(number: int) -> dict[str, dict[str, object]]:
    """The documents of a base: in mixed radix, per slot absent or one of its contents."""
    documents = {}
    for policy_id, choices in BASES.items():
        number, choice = divmod(number, len(choices) + 1)
        if choice:
            documents[policy_id] = document(policy_id, choices[choice - 1])
    return documents


def extensions(base: int) -> list[Extension]:
    """An entry can only be added to a document that is there; all else is always possible."""
    present = base_documents(base)
    entries = [("entry", i) for i, (policy_id, _) in enumerate(ENTRIES) if policy_id in present]
    always = [("document", len(NEW_DOCUMENTS)), ("intent", len(INTENTS)), ("hop", len(HOPS))]
    return [(kind, i) for kind, count in always for i in range(count)] + entries


_STARTS = [0, *accumulate(len(extensions(base)) * len(CALLS) for base in range(bases()))]


def size() -> int:
    return _STARTS[-1]


def triple(number: int) -> Triple:
    """The triple with this number. Requires 0 <= number < size()."""
    base = bisect_right(_STARTS, number) - 1
    extension, call = divmod(number - _STARTS[base], len(CALLS))
    return Triple(base, extension, call)


def from_code(code: str) -> Triple:
    base, extension, call = (int(part, 16) for part in code.split("-"))
    return Triple(base, extension, call)


def before(one: Triple) -> tuple[World, Call]:
    """The world and the call without the extension."""
    case = CALLS[one.call]
    texts = {policy_id: json.dumps(body) for policy_id, body in base_documents(one.base).items()}
    world = World(texts, SUBJECTS, case.settings, attestations=case.records, buckets=case.buckets, history=case.history)
    return world, Call("tool:a/x", case.now, [case.subject], case.params, session="session-1", resumed=case.resumed)


def after(one: Triple) -> tuple[World, Call]:
    """The same with it: equal tables, `now`, session and parameters."""
    world, call = before(one)
    kind, i = extensions(one.base)[one.extension]
    if kind == "intent":
        return world, dataclasses.replace(call, intents=[json.dumps(INTENTS[i])])
    if kind == "hop":
        hop = HOPS[i]
        return world, dataclasses.replace(call, subjects=[hop.delegator, call.subjects[0]], delegation=[
            dataclasses.replace(hop, delegate=call.subjects[0])
        ])  # fmt: skip
    policy_id, body = NEW_DOCUMENTS[i] if kind == "document" else ENTRIES[i]
    if kind == "entry":
        body = added(base_documents(one.base)[policy_id], body)
    texts = world.policies | {policy_id: json.dumps({"policy_id": policy_id} | body)}
    return dataclasses.replace(world, policies=texts), call


def added(body: dict[str, object], entry: dict[str, object]) -> dict[str, object]:
    """A document with one more entry: lists grow at their end, objects get a member, nothing is replaced."""
    grown = copy.deepcopy(body)
    for name, value in entry.items():
        present = grown.get(name)
        if isinstance(present, list) and isinstance(value, list):
            grown[name] = present + value
        elif isinstance(present, dict) and isinstance(value, dict):
            grown[name] = added(present, value)
        elif name not in grown:
            grown[name] = value
    return grown


def numbers(limit: int | None = None) -> Iterator[int]:
    """All numbers in order, or `limit` of them spread over the universe, always the same."""
    if limit is None or limit >= size():
        yield from range(size())
        return
    assert gcd(STRIDE, size()) == 1
    yield from ((k * STRIDE) % size() for k in range(limit))


def violations(evaluate: Evaluate, limit: int | None = None) -> Iterator[Violation]:
    """Search the universe, or a sample of `limit` triples, with an evaluator of the same interface."""
    return search(evaluate, numbers(limit))


def search(evaluate: Evaluate, chosen: Iterable[int]) -> Iterator[Violation]:
    """Search these triples. In their order, the verdict without the extension is asked for once per base and call."""
    known: dict[tuple[int, int], Verdict] = {}
    for number in chosen:
        one = triple(number)
        key = (one.base, one.call)
        if key not in known:
            if len(known) > len(CALLS):
                known.clear()
            known[key] = evaluate(*before(one))
        first = known[key]
        second = evaluate(*after(one))
        if RANK[second.outcome] > RANK[first.outcome] and first.reason != EXCEPTION:
            yield Violation(one.code, first.reason, second.reason)


def main() -> None:
    """Without arguments all of it, with one a sample of so many, with two the numbers from the first to the second."""
    given = [int(argument) for argument in sys.argv[1:]]
    chosen = range(given[0], min(given[1], size())) if len(given) == 2 else numbers(*given)
    counted = len(chosen) if isinstance(chosen, range) else min([*given, size()])
    started = time.monotonic()
    found = 0
    for violation in search(evaluate, chosen):
        found += 1
        print(violation)
    seconds = time.monotonic() - started
    print(f"universe {size()}, searched {counted}, violations {found}, {counted / seconds:.0f} triples/s")


if __name__ == "__main__":
    main()
