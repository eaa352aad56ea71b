"""`python -m bench.verifiers [--corpora DIR]`: the quality of the detectors with Wilson intervals, and their speed.

Quality is measured on third-party texts, one JSON object a line (docs/verifiers.md names the sets and their licences);
without the folder only speed is. Each figure is of one surface: there is no accuracy over all.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.quality import commands as of_commands
from bench.quality import injection as of_injection
from bench.quality import parameters as of_parameters
from bench.quality import personal as of_personal
from bench.quality import secrets as of_secrets
from bench.quality.rows import Row
from bench.stages import fold_micros
from bench.tenant import BURST, BenchTenant
from processors.content import commands, injection, personal, secret_tokens
from processors.state.settings import SETTINGS

PROSE = (
    "Please move the meeting with our supplier to Thursday at ten, and tell the three people of the second floor. "
    "The room has space for eight; the projector was repaired last week, and coffee is ordered for half past nine. "
)
SIZES = (200, 400, 2048)
PASSES = 200
SCHEMA = '{"type": "object", "properties": {"memo": {"type": "string"}}}'  # of the calls' tool
DETECTORS: dict[str, Callable[[str], object]] = {
    "injection": injection.find,
    "commands": commands.find,
    "personal": personal.find,
    "secrets": secret_tokens.find,
}
WORST = (
    "a",
    "`",
    "$(",
    "1",
    "1 ",
    "AKIA",
    "é",
    "%41",
    "../",
    "a@b.c ",
    "ignore all ",
    "aWdub3Jl",
    "\\u0061",
    "&#97;",
    "{[",
    "'\"",
)


def quality(corpora: Path) -> dict[str, list[Row]]:
    """Return the figures of each detector on the sets in a folder; of the model only where its extra is installed."""
    outside: dict[str, list[Row]] = {}
    if importlib.util.find_spec("stackone_defender") is not None:
        from bench.quality import defender

        outside["stackone"] = defender.score(corpora)
    return {
        "injection": of_injection.score(corpora),
        "commands": of_commands.score(corpora),
        "secrets": of_secrets.score(corpora),
        "personal data": of_personal.score(corpora),
        "parameters": of_parameters.score(corpora),
        **outside,
    }


def micros(find: Callable[[str], object], text: str, passes: int = PASSES) -> float:
    """Return the CPU time of one look at a text (µs), the best of several passes."""
    best = float("inf")
    for _ in range(5):
        begin = time.thread_time()
        for _ in range(passes):
            find(text)
        best = min(best, time.thread_time() - begin)
    return best / passes * 1e6


def worst(find: Callable[[str], object]) -> tuple[float, str]:
    """Return the longest look at 4 KiB of one of WORST (ms), and which it was."""
    return max((micros(find, (one * 4096)[:4096], 1) / 1e3, one) for one in WORST)


def fold_table(count: int = 512) -> Table:
    """Return the CPU time of the fold for a call with 400 B of parameters, with verifiers and without."""
    on = {name: values[-1] for name, values in SETTINGS.items() if "off" in values and name.startswith("verifiers.")}
    on["verifiers.personal_data"] = "stamp"  # the calls hold an IBAN, as payments do
    tenants = {
        "engine 1": BenchTenant("first"),
        "no verifier on": BenchTenant("off", {}),
        "and a schema declared": BenchTenant("declared", {}, SCHEMA),
        "all verifiers on": BenchTenant("on", on),
    }
    table = Table(title="CPU time of the whole fold for one call (µs), and its ratio to engine 1")
    for column in ("calls", *tenants):
        table.add_column(column)
    for name, burst in (("bursts of 64", BURST), ("lone", 1)):
        times = fold_micros(burst, count, tenants)
        table.add_row(name, *(f"{one:.0f} ({one / times['engine 1']:.2f})" for one in times.values()))
    return table


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.verifiers")
    parser.add_argument("--corpora", type=Path, help="the folder with the sets")
    given = parser.parse_args()
    console = Console(width=150)
    begin = time.perf_counter()
    for find in DETECTORS.values():
        find("a text")
    console.print(f"loading all detectors took {time.perf_counter() - begin:.2f} s")
    table = Table(title="CPU time of one look (µs; worst 4 KiB in ms)")
    for column in ("detector", *(f"{size} B" for size in SIZES), "worst", "of"):
        table.add_column(column)
    for name, find in DETECTORS.items():
        times = [f"{micros(find, (PROSE * 20)[:size]):.1f}" for size in SIZES]
        slowest, of = worst(find)
        table.add_row(name, *times, f"{slowest:.1f}", repr(of))
    console.print(table)
    console.print(fold_table())
    if given.corpora is not None:
        for name, rows in quality(given.corpora).items():
            console.print(f"\n{name}")
            for row in rows:
                console.print(str(row), highlight=False)


if __name__ == "__main__":
    main()
