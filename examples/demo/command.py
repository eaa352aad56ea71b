"""Running a demo by `python -m`: read the options, found a fresh installation, play, and print the claims that held."""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from examples.demo.checks import Checks
from examples.demo.installation import DemoError, installation
from producers.home.home import Home

WIDTH_MIN = 120
INTERRUPTED = 130

Play = Callable[[Console, Home, Path, Checks], None]


def main(play: Play, *, program: str, description: str) -> int:
    """Read the command line, play a demo, and return the exit status: 0 only if every claim held."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=description)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work in this folder and leave it there")
    keep: Path | None = parser.parse_args().keep
    try:
        return perform(play, keep=keep)
    except KeyboardInterrupt:
        return INTERRUPTED


def perform(play: Play, *, keep: Path | None = None) -> int:
    """Play a demo in a fresh installation and return its exit status: 0 only if every claim held.

    The folder of the installation is removed if every claim held and `keep` names no other folder.
    """
    console = Console()
    if console.width < WIDTH_MIN:
        console = Console(width=WIDTH_MIN)  # a narrower terminal wraps lines, which reads better than cut columns
    base = keep or Path(tempfile.mkdtemp(prefix="macaw-demo-"))
    base.mkdir(parents=True, exist_ok=True)
    checks = Checks(console)
    started = time.monotonic()
    try:
        with installation(base) as home:
            play(console, home, base, checks)
    except DemoError as exc:
        console.print(f"[bold red]{exc}[/bold red]")
        return 1
    finally:
        if keep is None and checks.all_held:
            shutil.rmtree(base, ignore_errors=True)
    held = sum(true for _, true in checks.results)
    console.print(
        f"\n{held} of {len(checks.results)} claims held, in {time.monotonic() - started:.0f} s", highlight=False
    )
    if not checks.all_held:
        console.print(f"[bold red]not everything held[/bold red]; the logs and the evidence are in {base}")
    return 0 if checks.all_held else 1
