"""The second pass of the demo: calls that policies allow, with the verifiers of texts on.

Calls that policies deny are not made again: a verifier allows nothing that a policy denies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from rich.console import Console
from rich.table import Table

from examples.demo.checks import Checks
from examples.demo.score import Outcome, Scoreboard, Task
from macaw.installation.tenancy import admin_connection
from macaw.installation.tenant_limits import set_settings
from producers.home.home import Home, TenantHome
from schemas.reasons import Reason

WANTED = 43  # calls of the corpus
# Account numbers and addresses are the work itself here, so personal data is stamped and not denied.
SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "verifiers.prompt_injection": "deny",
        "verifiers.command_injection": "deny",
        "verifiers.personal_data": "stamp",
        "verifiers.secrets": "deny",
        "verifiers.parameters": "deny",
        "results.prompt_injection": "withhold",
        "results.secrets": "withhold",
        "results.output_schema": "withhold",
    }
)


def turn_on(home: Home, folder: TenantHome) -> None:
    """Turn the verifiers of a tenant on."""
    with admin_connection(home, folder) as connection:
        set_settings(connection, SETTINGS)


def passed(outcome: Outcome) -> bool:
    """Return whether a call ran well and its caller got the result."""
    return outcome.allowed and outcome.succeeded and outcome.reason != Reason.RESULT_WITHHELD


def remaining(task: Task, outcomes: Sequence[Outcome]) -> Task:
    """Return a task with its wanted calls, and with those injected ones that its outcomes say policies let through."""
    injected = zip(task.injected, outcomes[len(task.wanted) :], strict=True)
    return replace(task, injected=tuple(call for call, outcome in injected if outcome.allowed))


def print_beside(console: Console, board: Scoreboard, second: Sequence[Outcome]) -> None:
    """Print the counts of the first pass beside those with the verifiers on, and each call that only these stopped."""
    wanted = [one for one in second if one.injection_task is None]
    injected = [one for one in second if one.injection_task is not None]
    stopped = [one for one in second if not passed(one)]
    table = Table(title="The same with the verifiers on", title_justify="left")
    table.add_column("")
    for name in ("policies alone", "with verifiers", "of"):
        table.add_column(name, justify="right")
    table.add_row("wanted calls that passed", str(board.wanted.count), str(sum(map(passed, wanted))), str(len(wanted)))
    more = board.injected.count + sum(not passed(one) for one in injected)
    table.add_row("injected calls stopped", str(board.injected.count), str(more), str(board.injected.total))
    console.print(table)
    for one in stopped:
        whose = "the user's" if one.injection_task is None else "injected"
        console.print(f"  only the verifiers stopped {one.tool} ({whose}): {one.reason}", highlight=False)
    console.print(
        "[dim]The injected calls hold ordinary arguments: the attack stands in the text that the agent had read, so "
        "policies stop them, and verifiers of arguments add little here (docs/verifiers.md).[/dim]"
    )


def check_verified(checks: Checks, second: Sequence[Outcome]) -> None:
    """Claim that every wanted call passes with the verifiers on, its result included."""
    wanted = [one for one in second if one.injection_task is None]
    count = sum(map(passed, wanted))
    checks.say(f"with the verifiers on {count} of {len(wanted)} wanted calls passed", count == len(wanted) == WANTED)
