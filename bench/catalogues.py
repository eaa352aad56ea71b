"""`python -m bench.catalogues`: the cost of a tenant's catalogue, beside the units that are charged for it.

A unit is 50 ns. Compiling is measured up to the bound of an event; matching on texts of prose, and on texts that are
made to be as slow as RE2 can be: there a unit may last longer, which docs/verifiers.md tells.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import sha256

from rich.console import Console
from rich.table import Table

from processors.calls.verifiers.catalogue_rules import Catalogue, CatalogueRuleError, compile_units, compiled
from processors.content.views import views
from processors.policy.evaluation import new_work
from schemas import limits
from schemas.events.catalogues import CatalogueRule

PROSE = (
    "Please move the meeting with our supplier to Thursday at ten, and tell the three people of the second floor. "
    "The room has space for eight; the projector was repaired last week, and coffee is ordered for half past nine. "
)
MATCHED = 50  # rules of a catalogue of some size
COMPILED: dict[str, Callable[[int], str]] = {
    "tokens": lambda n: rf"tok{n}-[A-Za-z0-9]{{40}}",
    "sentences": lambda n: rf"(?i)\bword{n}\s+(?:all|any|the)\s+(?:{'|'.join(f'noun{m}' for m in range(20))})",
    "classes of Unicode": lambda n: rf"x{n}\pL{{2}}",
    "distances": lambda n: rf"a{n}.{{0,80}}b",
    "choices of letters": lambda n: rf"[ab][cd][ef][gh][ij]{n}[kl][mn]",
    "without a literal": lambda n: rf"[0-9]{{{n % 50 + 2}}}",
}
RANDOM = "".join("ab"[one & 1] for number in range(125) for one in sha256(bytes([number])).digest())
SLOW = {
    "words at a distance": (r"(?i)[a-z ]{1,250}zz", PROSE),
    "more states than memory": (r"[ab]*a[ab]{200}[c-z]", RANDOM),
    "many empty ways": (r"(?:a?){200}a{200}[b-z]", "a"),
}


def rules_of(pattern: Callable[[int], str], count: int) -> tuple[CatalogueRule, ...]:
    """Return rules that differ in a number."""
    return tuple(CatalogueRule(id=f"r{n}", kind="k", pattern=pattern(n)) for n in range(count))


def largest(pattern: Callable[[int], str]) -> tuple[CatalogueRule, ...]:
    """Return the most rules of a kind that one event may have."""
    count = limits.CATALOGUE_RULES_MAX
    while count > 1:
        try:
            compiled(rules_of(pattern, count))
        except CatalogueRuleError:
            count = count * 9 // 10
        else:
            break
    return rules_of(pattern, count)


def seconds(work: Callable[[], object], passes: int) -> float:
    """Return the CPU time of a pass, the best of several."""
    best = float("inf")
    for _ in range(passes):
        begin = time.thread_time()
        work()
        best = min(best, time.thread_time() - begin)
    return best


def compiling() -> Table:
    """Return the time of the event with the most rules of each kind."""
    table = Table("rules", "count", "instructions", "ms", "ns a unit", title="the event")
    for name, pattern in COMPILED.items():
        rules = largest(pattern)

        def afresh(rules: tuple[CatalogueRule, ...] = rules) -> None:
            compiled.cache_clear()
            compiled(rules)

        spent = seconds(afresh, 3)
        programs = compiled(rules).programs
        table.add_row(
            name, str(len(rules)), f"{programs:,}", f"{spent * 1e3:.0f}", f"{spent * 1e9 / compile_units(programs):.0f}"
        )
    return table


def matching() -> Table:
    """Return the time of a text before a catalogue."""
    table = Table("catalogue", "bytes", "µs", "units", "ns a unit", title="a text, with its other readings")
    for name, pattern in COMPILED.items():
        catalogue = Catalogue("own", rules_of(pattern, MATCHED), b"")
        for size in (200, 2_000, 4_000):
            _row(table, f"{MATCHED} {name}", catalogue, (PROSE * 40)[:size], 50)
    for name, (pattern, piece) in SLOW.items():
        catalogue = Catalogue("own", (CatalogueRule(id="r", kind="k", pattern=pattern),), b"")
        _row(table, name, catalogue, (piece * 4_000)[:4_000] + ("zz." if "zz" in pattern else ""), 2)
    return table


def _row(table: Table, name: str, catalogue: Catalogue, text: str, passes: int) -> None:
    readings = views(text)
    work = new_work()
    catalogue.hits(readings, work)
    units = new_work()[0] - work[0]
    spent = seconds(lambda: catalogue.hits(readings, new_work()), passes)
    table.add_row(name, str(len(text)), f"{spent * 1e6:.0f}", f"{units:,}", f"{spent * 1e9 / units:.1f}")


def main() -> None:
    """Print both tables."""
    console = Console()
    console.print(compiling())
    console.print(matching())


if __name__ == "__main__":
    main()
