"""Playing and printing an act: allowed calls, refused attempts with their codes, and the decision of a person."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from examples.demo.workflow.cast import Cast
from macaw.cli.terminal.output import plain
from producers.client import CallError, Client, explain, result_of
from producers.kafka.answers import Answer
from schemas.words import Outcome

ANSWER_SECONDS = 60.0
ASKED_SECONDS = 30.0

Parameters = Mapping[str, Any]  # Any: JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An attempt that must be refused: its description, the expected code, and the code that came."""

    what: str
    want: str
    got: str


@dataclass(slots=True)
class Acting:
    """Plays calls for the cast, prints each of them, and collects the facts that the demo will claim."""

    console: Console
    cast: Cast
    allowed: list[tuple[str, Parameters]] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    facts: list[tuple[str, bool]] = field(default_factory=list)
    answers: list[bool] = field(default_factory=list)

    def chapter(self, title: str) -> None:
        """Begin a chapter."""
        self.console.print(f"\n[bold]{title}[/bold]")

    def fact(self, what: str, held: bool) -> None:  # noqa: FBT001 - a claim and its truth
        """Note and print a fact that the demo claims."""
        self.facts.append((what, held))
        self._line("seen" if held else "WRONG", "", what, "cyan" if held else "bold red")

    def call(self, who: str, resource: str, parameters: Parameters, *, delegation: str | None = None) -> Any:
        """Call a tool as the person or agent `who`, and return the result. Raises CallError if it is not allowed."""
        future = self.cast[who].submit(resource, parameters, delegation=delegation)
        return self.result(who, resource, parameters, future)

    def result(self, who: str, resource: str, parameters: Parameters, future: Future[Answer]) -> Any:
        """Return the result of a call that is under way."""
        result = result_of(future.result(ANSWER_SECONDS))
        self.allowed.append((resource, parameters))
        self._line(Outcome.ALLOWED, who, f"{resource} {brief(parameters)}", "green")
        return result

    def done(self, who: str, what: str) -> None:
        """Print an act of a person or agent that is not a call."""
        self._line("done", who, what, "green")

    def refused(self, what: str, want: str, act: Callable[[], object]) -> None:
        """Make an attempt that must be refused with the code `want`."""
        got = "it was not refused"
        try:
            act()
        except CallError as exc:
            got = exc.reason or type(exc).__name__
        self.refusals.append(Refusal(what=what, want=want, got=got))
        self._line(Outcome.REFUSED, "", f"{what}: [bold]{got}[/bold]", "red" if got == want else "bold red")
        if got == want:
            self.console.print(f"            {explain(got)}", style="dim", highlight=False)

    def _line(self, verdict: str, who: str, what: str, style: str) -> None:
        self.console.print(f"  [{style}]{verdict:8}[/{style}] {who:15} {what}", highlight=False)

    # --- a call that waits for a person

    def asks(
        self, who: str, resource: str, parameters: Parameters, key: str, *, delegation: str | None = None
    ) -> tuple[Future[Answer], dict[str, Any]]:
        """Begin a call that waits for an approval; return its future, and the request in the form that carol sees.

        Raises:
            CallError: the call was answered at once, without a request for approval.
        """
        future = self.cast[who].submit(resource, parameters, delegation=delegation)
        until = time.monotonic() + ASKED_SECONDS
        while time.monotonic() < until:
            if future.done():
                result_of(future.result())
                raise CallError(f"{resource} was answered without a request for approval")
            for request in self.cast["carol"].list_attestations():
                if request["key"] == key and request["resource"] == resource:
                    self._line("waits", who, f"{resource} {brief(parameters)} for {key}", "yellow")
                    return future, request
            time.sleep(0.2)
        raise CallError(f"no request for approval with key {key} came in time")

    def decides(self, request: dict[str, Any]) -> bool:
        """Let carol decide on a request; return True for yes. Without a terminal a script says yes with her key."""
        carol: Client = self.cast["carol"]
        shown = carol.show_call(request["request"])
        for line in (
            f"carol sees {shown.resource}, asked for by {shown.principal},",
            f"with exactly these parameters: {json.dumps(shown.parameters)}",
        ):
            self.console.print(f"            {plain(line)}", markup=False, highlight=False)
        self.console.print(f"            digest {shown.parameters_sha256.hex()}", style="dim")
        if sys.stdin.isatty():
            yes = self.console.input("            [bold]approve? [y/N] [/bold]").strip().lower() in {"y", "yes"}
        else:
            self.console.print("            no terminal to ask in: a script approves with carol's own session key")
            yes = True
        (carol.approve_attestation if yes else carol.deny_attestation)(request, reason="seen in the demo")
        self.done("carol", "approves" if yes else "denies")
        self.answers.append(yes)
        return yes


def brief(parameters: Parameters) -> str:
    """Return parameters for one line of a terminal, without control characters or markup of an agent's text."""
    return escape(_cut(plain(", ".join(f"{name}={_cut(str(value), 28)}" for name, value in parameters.items())), 72))


def _cut(text: str, most: int) -> str:
    line = text.split("\n", 1)[0]
    return line if len(line) <= most else f"{line[: most - 3]}..."


def refusals_table(refusals: list[Refusal]) -> Table:
    """Return the attempts that were refused on purpose, each with its code."""
    table = Table(title="Refused on purpose", title_justify="left")
    for name in ("what was tried", "reason on the log", "in words"):
        table.add_column(name)
    for one in refusals:
        table.add_row(one.what, one.got if one.got == one.want else f"{one.got}, want {one.want}", explain(one.got))
    return table
