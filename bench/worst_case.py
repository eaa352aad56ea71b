"""The cost of the slowest work: `python -m bench.worst_case`.

A decision counts units and not time, so that a replay agrees; a unit is meant to be at most 50 ns. Here slow documents
and parameters are judged, each without a cache, and the seconds are divided by the units. The first figure is the worst
case, in seconds for 10^7 units. The second is the slowest whole record: signed events of an agent and of an
administrator, folded as a worker folds them. `--search` adds random cases.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from bench.tenant import RESOURCE, BenchTenant, Signed
from processors.calls.parameters import parse_parameters
from processors.intake.identify import Received
from processors.policy import limits
from processors.policy.call import Circumstances
from processors.policy.compiled import compile_policy
from processors.policy.decide import decide, index_policies
from processors.policy.documents import parse_policy
from processors.policy.evaluation import new_work
from processors.policy.resolve import Subject
from processors.proof.signing import VerifiedHeads
from processors.step import step
from schemas import codec
from schemas.records import AuditEntry, Body, InvocationRequested, PolicyPublished, Prompt
from schemas.words import Outcome
from streams.worker.monitor import build_fold

LEAVES = 16_000  # of the 16,384 values that parameters may hold
TEXT_BYTES = 200_000
EVE = Subject(user="eve")
GRANT = {"policy_id": "user:eve", "resources": ["**"]}
Document = dict[str, Any]
_fresh = itertools.count()


class Case(NamedTuple):
    """A document, the parameters that make it slow, and its origin: with the call, or published."""

    name: str
    document: Document
    parameters: str
    inline: bool = True


# ---- parameters that make checks slow


def texts(character: str) -> Iterator[tuple[str, Any]]:
    """Yield one long text, some of middle length, and many short ones of a character."""
    size = len(character.encode())
    yield "one", {"s": character * (TEXT_BYTES // size), "l": []}
    yield "some", {"s": character, "l": [character * (TEXT_BYTES // size // 100)] * 100}
    yield "many", {"s": character, "l": [character * max(1, 30 // size)] * LEAVES}


def made_parameters() -> dict[str, str]:
    """Return parameters by name."""
    found: dict[str, Any] = {}
    for what, character in {
        "plain": "a", "slashes": "/", "segments": "/a", "percents": "%25", "dots": "./", "letters": "\u00e9",
        "expanding": "\ufdfa", "composed": "\u1e9b\u0323", "decomposing": "\U0001d160", "hidden": "\u200b",
        "marks": "a" + "\u0323\u0301" * 15, "rare": "\U00012000\U00016a40", "unassigned": "\U0001f6dc",
        "in pieces": "\u0104\U00031350",
    }.items():  # fmt: skip
        found |= {f"{what}, {how}": value for how, value in texts(character)}
    found["numbers"] = {"l": [1e-7] * LEAVES, "s": 1e-7}
    found["whole numbers"] = {"l": list(range(LEAVES)), "s": 1}
    found["names"] = {"o": {f"\u00e9{n}": 1 for n in range(LEAVES)}, "s": "a", "l": []}
    found["long names"] = {"o": {f"\u00e9{n}" * 200: 1 for n in range(400)}, "s": "a", "l": []}
    found["objects"] = {"l": [{"\u00e9": 1}] * (LEAVES // 2), "s": "a"}
    found["nested"] = {"l": [[[1e-7] * 60] * 60], "s": "a", "o": json.loads('{"k":' * 28 + "1" + "}" * 28)}
    return {name: json.dumps(value, ensure_ascii=False) for name, value in found.items()}


# ---- documents that make them slower


def constrained(**parts: Any) -> Document:
    return {"constraints": parts}


def anywhere(items: Sequence[Any]) -> Document:
    return constrained(denied_parameters={"**": {"*": list(items)}})


def allowing(values: Sequence[Any]) -> Document:
    return constrained(parameters={"**": {"l[*]": list(values), "s": list(values)}})


def asking(condition: str, count: int) -> Document:
    return {"attestations": [f"deny::{{{condition}}}"] * min(count, limits.INLINE_REQUIREMENTS_MAX)}


def made_documents() -> dict[str, Document]:
    """Return documents by name; all of them may come with a call."""
    denied = {
        "question marks": [f"{n:x}" + "?" * 20 + "*" for n in range(250)],
        "question marks between": [f"*{n:x}" + "?a" * 6 + "*" for n in range(250)],
        "one piece with many marks": ["*" + "a?" * 200 + "b*", "*" + "\u00e9?" * 200 + "b*"],
        "a mark in a long piece": ["*" + "a" * 250 + "?" + "a" * 200 + "b*"] * 10,
        "long literals": ["*" + "a" * 250 + "b" + "a" * 250 + "*"] * 10,
        "many pieces": ["*a" * 200 + "b*"] * 10,
        "short items": [f"*{n}*" for n in range(600)],
        "literals": [f"{n}" for n in range(800)],
        "one item": ["*b*"],
        "containers": [[], {}, [[1]], {"k": [1]}],
    }
    allowed = {
        "mixed stars": ["**/a*/a*/a*/a*/b**"] * 40,
        "mixed stars, deep": ["**" + "/a*" * 13 + "/b**/c"] * 20,
        "mixed stars, slashes": ["**/*/*/*/*/*/*/b**"] * 40,
        "single stars": ["*a*a*a*a*b"] * 60,
        "single stars, segments": ["/".join(["a*"] * 16)] * 20,
        "values": [[1], {"k": 1}, 1.5, "a*"] * 40,
        "climbing": ["a*b"],
    }
    regexes = ["(a?){30}a{30}", "(a|b|ab)*c", "[^b]*a[^b]{20}", "(?i)\\\\pL*\\\\pN"]
    many = range(60)
    found = {f"denied: {name}": anywhere(items) for name, items in denied.items()}
    found |= {
        f"denied at a path: {name}": constrained(
            denied_parameters={"**": {"l[*]": items[: len(items) // 2 + 1], "s": items[:9]}}
        )
        for name, items in denied.items()
    }
    found |= {f"allowed: {name}": allowing(values) for name, values in allowed.items()}
    return found | {
        "pattern": constrained(parameters={"**": {"s": {"pattern": regexes[0]}, "l[*]": {"pattern": regexes[1]}}}),
        "patterns": constrained(parameters={"**": {f"l[{n}]": {"pattern": regexes[2]} for n in range(8)}}),
        "MATCHES regex": asking(" OR ".join(f"s MATCHES /{one}/" for one in regexes), 2),
        "MATCHES glob": asking(" OR ".join(f"s MATCHES '*{n}?a*a?{n}*'" for n in range(60)), 4),
        "IN": asking(" OR ".join(["s IN l"] * 60), 4),
        "comparing texts": asking(" OR ".join(["s < l[0]", "s == l[1]", "s != l[2]"] * 20), 4),
        "names": constrained(parameters={"**": {f"o.n{n}": [1] for n in many}}),
        "names in conditions": asking(" OR ".join(f"o.n{n} == 1" for n in range(60)), 4),
        "paths": constrained(parameters={"**": {f"l[*].n{n}": [1] for n in many}}),
        "deep paths": constrained(parameters={"**": {"o" + ".k" * 28 + f".k{n}": [1] for n in many}}),
        "long paths": constrained(parameters={"**": {f"l[*]{'[*]' * 100}.a{n}": [1] for n in range(20)}}),
        "one value, many patterns": constrained(parameters={f"{'*' * n}": {"l": [[n]]} for n in range(1, 60)}),
        "types": constrained(parameters={"**": {f"n{n}": {"type": "string"} for n in range(128)}}),
        "questions": asking(" OR ".join(["context.has_attestation('a')"] * 60), 4),
        "roles": asking(" OR ".join(["principal.has_role('a')", "principal.has_group('b')"] * 30), 4),
        "zones": asking(" OR ".join(f"time.hour('+{n % 15:02}:{n:02}') > 30" for n in range(58)), 4),
        "sums": {
            "sequence": [{"id": f"{n}", "when": "**", "sum": "l[*]", "max": 10**9, "per": "session"} for n in range(31)]
        },
        "same": {
            "sequence": [
                {"id": f"{n}", "when": "**", "after": {"resource": "tool:y", "same": [["l", "s"], ["s", "o"]] * 4}}
                for n in range(20)
            ]
        },
        "resources": {"resources": ["**/a*/a*/a*/a*/b**" + "c" * n for n in range(60)]},
        "expensive expressions": constrained(
            parameters={"**": {f"n{n}": {"pattern": rf"(?i)\pL\pM\pN\pP\pS{n}"} for n in range(8)}}
        ),
    }


def cases() -> Iterator[Case]:
    """Yield every document with every kind of parameters."""
    made = made_parameters()
    for document_name, document in made_documents().items():
        for parameters_name, parameters in made.items():
            yield Case(f"{document_name} / {parameters_name}", document, parameters)


# ---- measuring


def judged(case: Case) -> tuple[float, int, str]:
    """Return the seconds, the units and the reason of one decision, without a cache of the document."""
    number = next(_fresh)
    documents: list[Document] = [GRANT]
    intents: tuple[str, ...] = ()
    if case.inline:
        intents = (json.dumps({**case.document, "purpose": str(number)}, separators=(",", ":")),)
    else:
        documents.append({**case.document, "policy_id": "org:rules", "description": str(number)})
    parsed = [parse_policy(json.dumps(one).encode(), organisation=True) for one in documents]
    index = index_policies({one.policy_id: compile_policy(one) for one in parsed})
    parameters, work = parse_parameters(case.parameters).value, new_work()
    resource = "tool:x" + "/a" * 400
    begin = time.thread_time()
    verdict = decide(index, EVE, resource, parameters, Circumstances(intents=intents), work)
    seconds = time.thread_time() - begin
    return seconds, limits.WORK_UNITS_MAX - work[0], verdict.reason or Outcome.ALLOWED


def measured(found: Iterator[Case], again: int = 30) -> list[tuple[float, float, int, str, str]]:
    """Return (seconds for 10^7 units, seconds, units, reason, name), the worst first.

    Cases that spend less than a hundredth of all units are left out, because the fixed cost of a record dominates them.
    The slowest cases are measured again, because another process may have used the CPU's caches.
    """

    def row(case: Case) -> tuple[float, float, int, str, str]:
        seconds, units, reason = judged(case)
        return seconds / max(units, 1) * limits.WORK_UNITS_MAX, seconds, units, reason, case.name

    by_name = {case.name: case for case in found}
    rows = [one for one in map(row, by_name.values()) if one[2] >= limits.WORK_UNITS_MAX // 100]
    rows.sort(reverse=True)
    rows[:again] = [min(one, row(by_name[one[4]]), row(by_name[one[4]])) for one in rows[:again]]
    return sorted(rows, reverse=True)


# ---- whole records


def bodies(search: int) -> Iterator[tuple[str, Body]]:
    """Yield slow event bodies of an agent."""
    for case in [*cases(), *made_up(search)]:
        text = json.dumps(case.document, separators=(",", ":"))
        yield case.name, InvocationRequested(resource=RESOURCE, parameters=case.parameters, intents=(text,), prompts=())
    for name, parameters in made_parameters().items():
        for path in ("l[*]" + ".x" * 120, "s", "o" + ".k" * 28):
            prompts = tuple(Prompt(path=f"{path}{'.y' * n}", parent=None, policy="{}") for n in range(8))
            yield (
                f"prompts at {path[:8]} / {name}",
                InvocationRequested(resource=RESOURCE, parameters=parameters, intents=(), prompts=prompts),
            )


def published() -> Iterator[tuple[str, Body]]:
    """Yield slow publications."""

    def publication(*documents: Document) -> PolicyPublished:
        texts = tuple(json.dumps({"policy_id": f"user:p{n}", **one}) for n, one in enumerate(documents))
        return PolicyPublished(documents=texts, previous=(None,) * len(texts))

    regexes = {f"n{n}": {"pattern": rf"(?i)\pL\pM\pN\pP\pS{n}"} for n in range(36)}
    yield "regular expressions", publication(*[constrained(parameters={"**": regexes})] * 3)
    condition = " OR ".join(["a.b[0] == 'x'"] * 80)
    yield "conditions", publication(*[{"attestations": [f"k{n}::{{{condition}}}" for n in range(35)]}] * 3)
    yield "patterns", publication(*[{"resources": ["a*" * 15] * 500}] * 14)
    yield "names", publication(*[constrained(parameters={f"{n}*": {"a": [1]} for n in range(250)})] * 40)
    yield "texts", publication(*[{"resources": ["\u1e9b\u0323" * 200] * 12}] * 5)


def record_seconds(found: Iterator[tuple[str, Body]], *, admin: bool = False) -> list[tuple[float, int, str, str]]:
    """Return (seconds, bytes, reason, name) of folding each body as a record, the worst first."""
    tenant = BenchTenant("worst")
    fold = build_fold(tenant.monitored)
    heads, rows = VerifiedHeads(), []

    def folded(signed: Signed) -> tuple[float, str]:
        now = time.time_ns() // 1_000_000
        received = Received(0, fold.tables.next_index, now, signed.value, signed.headers)
        begin = time.thread_time()
        outputs = step(fold.tables, received, heads)
        seconds = time.thread_time() - begin
        if outputs[-1].fault:
            raise SystemExit(f"a rule broke: {outputs[-1].fault}")
        entry: AuditEntry = codec.decode_as(AuditEntry, outputs[-1].value or b"")
        return seconds, entry.reason or entry.outcome

    for signed in tenant.set_up:
        folded(signed)
    # Published documents would deny before the slow part is reached.
    mild = PolicyPublished(
        documents=('{"policy_id":"role:payer","resources":["**"]}',),
        previous=(fold.tables.policies.rows[b"role:payer"].digest,),
    )
    folded(tenant.said(mild, admin=True))
    for name, body in found:
        mark, signed = fold.tables.savepoint(), tenant.said(body, admin=admin)
        seconds, reason = folded(signed)
        rows.append((seconds, len(signed.value), reason, name))
        fold.tables.undo_to(mark)
    return sorted(rows, reverse=True)


def made_up(count: int) -> Iterator[Case]:
    """Yield random combinations of the slow parts, from a fixed seed: documents with parameters."""
    dice = random.Random("worst")
    documents, parameters = list(made_documents().values()), list(made_parameters().values())
    for number in range(count):
        document: Document = {}
        for part in dice.sample(documents, 2):
            document |= {name: {**document.get(name, {}), **value} if isinstance(value, dict) else value
                         for name, value in part.items()}  # fmt: skip
        yield Case(f"made up {number}", document, dice.choice(parameters))


# ---- the command


def show(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(title=title)
    for heading in headings:
        table.add_column(heading, justify="left" if heading in {"what", "reason"} else "right")
    for row in rows:
        table.add_row(*row)
    Console(width=120).print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.worst_case", description=__doc__)
    parser.add_argument("--search", type=int, default=0, help="so many made-up documents more")
    parser.add_argument("--top", type=int, default=12, help="rows to show")
    chosen = parser.parse_args(arguments)
    rows = measured(itertools.chain(cases(), made_up(chosen.search)))
    slow = [
        (name, f"{per:.2f}", f"{1000 * taken:.1f}", f"{units:,}", reason) for per, taken, units, reason, name in rows
    ]
    headings = ("what", "s/10^7", "ms", "units", "reason")
    show("Decisions: seconds for 10^7 units, the worst first", headings, slow[: chosen.top])
    for title, found in (
        ("Records of an agent", record_seconds(bodies(chosen.search))),
        ("Records of an administrator", record_seconds(published(), admin=True)),
    ):
        shown = [(name, f"{seconds * 1000:.1f}", f"{size:,}", reason) for seconds, size, reason, name in found]
        show(title, ("what", "ms", "bytes", "reason"), shown[: chosen.top])


if __name__ == "__main__":
    main()
