"""What a demo claims, and the claims that every demo makes of its evidence."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from macaw.demo.installation import DemoError, installation
from macaw.demo.tamper import tampered_copies
from producers.home import Home, TenantHome
from streams.history.evidence_folder import verify_folder
from streams.history.export import export_audit
from streams.history.replay import replay

WIDTH_MIN = 120


@dataclass(slots=True)
class Checks:
    """What the demo claims, each with whether it held. Nothing counts unless it was looked at."""

    console: Console
    results: list[tuple[str, bool]] = field(default_factory=list)

    def say(self, what: str, held: bool) -> None:  # noqa: FBT001 - a claim and its truth
        """Note and print one claim."""
        self.results.append((what, held))
        mark = "[green]held [/green]" if held else "[bold red]FAILED[/bold red]"
        self.console.print(f"  {mark} {what}", highlight=False)

    @property
    def all_held(self) -> bool:
        return bool(self.results) and all(held for _, held in self.results)


Play = Callable[[Console, Home, Path, Checks], None]


def perform(play: Play, *, keep: Path | None = None) -> int:
    """Play a demo in a fresh installation and return its exit status: 0 only if everything held."""
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
    console.print(f"\n{len(checks.results)} claims, {time.monotonic() - started:.0f} s")
    if not checks.all_held:
        console.print(f"[bold red]not everything held[/bold red]; what there is lies in {base}")
    return 0 if checks.all_held else 1


def check_evidence(checks: Checks, home: Home, base: Path, folder: TenantHome) -> None:
    """Take the evidence of a tenant away, verify it, spoil copies of it, and decide the whole log again."""
    console = checks.console
    console.print(f"\nEvidence of {folder.tenant}:")
    target = base / "evidence"
    export_audit(
        home.bootstrap,
        tenant=folder.tenant,
        deployment=home.config["deployment"],
        genesis=folder.genesis,
        target=target,
    )
    verdict = verify_folder(target, genesis=folder.genesis)
    console.print(f"  exported {verdict.size} entries; verdict {verdict.code}", highlight=False)
    checks.say("the exported log verifies offline (no witness yet: UNWITNESSED)", verdict.code == "UNWITNESSED")
    checks.say("every entry comes with its event", not verdict.events_absent)
    for copy in tampered_copies(target, base):
        found = verify_folder(copy.path, genesis=folder.genesis)
        got = f"{found.code} at {found.index}"
        checks.say(f"{copy.what}: {got}", got == copy.want)
    report = replay(home.bootstrap, tenant=folder.tenant, deployment=home.config["deployment"], genesis=folder.genesis)
    checks.say(
        f"replayed from offset 0: {report.compared} records, every byte the same",
        report.compared > 0 and report.difference is None,
    )
