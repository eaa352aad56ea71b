"""The tables that the demo prints at its end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from examples.demo.play import Played
from examples.demo.score import Scoreboard, Tally


def _short(suite: str, user_task: str) -> str:
    return f"{suite} {user_task.removeprefix('user_task_')}"


def tasks_table(played: Iterable[Played]) -> Table:
    """Return each task with its role and the counts of passed and refused calls."""
    table = Table(title="Task and role", title_justify="left")
    table.add_column("task", no_wrap=True)
    table.add_column("role", no_wrap=True)
    for name in ("wanted", "refused", "effects"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("what the user asked", overflow="ellipsis", no_wrap=True, max_width=46)
    for item in played:
        wanted = [o for o in item.outcomes if o.injection_task is None]
        injected = [o for o in item.outcomes if o.injection_task is not None]
        table.add_row(
            _short(item.task.suite, item.task.user_task),
            item.role,
            f"{sum(o.allowed and o.succeeded for o in wanted)}/{len(wanted)}",
            f"{sum(not o.allowed for o in injected)}/{len(injected)}",
            str(item.effects),
            item.task.prompt.replace("\n", " "),
        )
    return table


def score_table(board: Scoreboard) -> Table:
    """Return the counts of calls and goals, with reads and writes separate."""
    table = Table(title="Calls and goals", title_justify="left")
    table.add_column("")
    table.add_column("count", justify="right")
    table.add_column("of", justify="right")
    table.add_column("share", justify="right")
    rows: list[tuple[str, Tally]] = [
        ("wanted calls that passed", board.wanted),
        *((f"  {suite}", tally) for suite, tally in board.wanted_by_suite.items()),
        ("injected calls refused", board.injected),
        ("  reads", board.injected_reads),
        ("  writes", board.injected_writes),
        ("injected goals broken (one step refused)", board.goals),
        *((f"  {suite}", tally) for suite, tally in board.goals_by_suite.items()),
        ("injected goals without any effect", board.goals_without_effect),
    ]
    for label, tally in rows:
        table.add_row(label, str(tally.count), str(tally.total), f"{100 * tally.share:.1f} %")
    return table


def reasons_table(board: Scoreboard) -> Table:
    """Return every refusal's reason with its count."""
    table = Table(title="Why calls were refused", title_justify="left")
    table.add_column("reason")
    table.add_column("calls", justify="right")
    for reason, count in board.refusals:
        table.add_row(reason, str(count))
    return table


def let_through_table(board: Scoreboard) -> Table:
    """Return the injected calls that these policies cannot distinguish from wanted ones."""
    table = Table(title="Injected calls that a policy alone cannot distinguish from wanted ones", title_justify="left")
    for name in ("task", "goal"):
        table.add_column(name, no_wrap=True)
    table.add_column("call", overflow="ellipsis", no_wrap=True, max_width=52)
    table.add_column("why it passed")
    table.add_column("goal", no_wrap=True)
    for item in board.let_through:
        arguments = ", ".join(f"{k}={v!r}" for k, v in item.arguments.items())
        broken = "broken" if item.goal_broken else "[red]reached[/red]"
        goal = item.injection_task.removeprefix("injection_task_")
        call = f"{item.tool}({arguments})"
        table.add_row(_short(item.suite, item.user_task), goal, call, item.why.value, broken)
    return table


def print_all(console: Console, played: Sequence[Played], board: Scoreboard) -> None:
    """Print the four tables."""
    for table in (tasks_table(played), reasons_table(board), let_through_table(board), score_table(board)):
        console.print(table)
    console.print(
        "[dim]The roles' literals come from the prompts of these very tasks, so the shares say what such policies can "
        "do, not what yours will do on other prompts.[/dim]"
    )
