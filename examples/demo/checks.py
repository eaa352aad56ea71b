"""The claims of a demo, and those that every demo makes of its evidence."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from examples.demo.tamper import tampered_copies
from producers.home.home import Home, TenantHome
from streams.history.evidence_folder import verify_folder
from streams.history.export import export_audit
from streams.history.replay import replay


@dataclass(slots=True)
class Checks:
    """The claims of a demo, in order, each with True if it held. A demo without claims has not held."""

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


def check_evidence(checks: Checks, home: Home, base: Path, folder: TenantHome) -> None:
    """Export the evidence of a tenant, verify it, change copies of it, and decide the whole log again."""
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
        checks.say(f"the verifier rejects a copy in which {copy.what}: {got}", got == copy.want)
    report = replay(home.bootstrap, tenant=folder.tenant, deployment=home.config["deployment"], genesis=folder.genesis)
    checks.say(
        f"replayed from offset 0: {report.compared} records, every byte the same",
        report.compared > 0 and report.difference is None,
    )
