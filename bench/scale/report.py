"""Measures the parts one after the other, writes the figures, and prints them."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.scale.length import measure_length
from bench.scale.quiet import measure_quiet
from bench.scale.restart import measure_restart
from bench.scale.site import Figures, Plan, Site
from bench.scale.workers import measure_workers
from streams.local.choose import KafkaBroker

OUT = Path(__file__).parents[1] / "out" / "scale.json"
QUICK = Plan(
    rounds=2, calls=60, quiet_turns=2, quiet_seconds=5.0, floods=(1, 8), backlog_per_second=6_000,
    rows=100_000, restarts=2, lengths=(1_000, 10_000, 50_000),
)  # fmt: skip
FULL = Plan(
    rounds=5, calls=250, quiet_turns=4, quiet_seconds=10.0, floods=(1, 8), backlog_per_second=8_000,
    rows=100_000, restarts=4, lengths=(1_000, 100_000, 1_000_000),
)  # fmt: skip
PARTS: dict[str, Callable[[Site], Figures]] = {
    "workers": measure_workers,
    "quiet": measure_quiet,
    "restart": measure_restart,
    "length": measure_length,
}
# The goals of the project: each figure is at most this.
GOALS = {"workers.late_served_s": 10.0, "restart.whole_max_s": 5.0, "length.ratio": 1.2}


def run(*, quick: bool, parts: Sequence[str] = tuple(PARTS), out: Path = OUT) -> None:
    """Measure the parts, each on a broker of its own, write the figures, and print them."""
    console = Console(width=100)
    found: dict[str, float | str] = {"cores": float(os.cpu_count() or 1), "mode": "quick" if quick else "full"}
    for name in parts:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, KafkaBroker(Path(folder)) as broker:
            found |= {"broker": str(broker.info)}
            found |= {k: round(v, 4) for k, v in PARTS[name](Site(broker, QUICK if quick else FULL)).items()}
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", "utf-8")
    show(found, console)
    console.print(f"written to {out.name}")


def show(found: dict[str, float | str], console: Console) -> None:
    """Print the figures, each with its goal if it has one."""
    table = Table(title=f"scale on {found['broker']}, which shares {found['cores']:.0f} cores with the workers")
    for column, justify in (("figure", "left"), ("value", "right"), ("goal", "right"), ("", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for name, value in found.items():
        if isinstance(value, str):
            continue
        goal = GOALS.get(name)
        verdict = "" if goal is None else "met" if value <= goal else "missed"
        shown = f"{value:,.3f}" if value < 100 else f"{value:,.0f}"
        table.add_row(name, shown, "" if goal is None else f"≤ {goal}", verdict)
    console.print(table)
