"""`--help`: every line stands alone in a list, so it begins with a noun or an imperative."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from macaw.cli.app import COMMANDS as ALONE
from macaw.cli.app import NOUNS, build_app
from tests.cli.commands import run

# "Its id.", "How long it holds.": such a line needs the line before it.
WITHOUT_A_SUBJECT = re.compile(
    r"(it|its|how|what|who|whose|whom|why|which|where|or|also|only|so|that|those|nobody|whoever|whatever)\b",
    re.IGNORECASE,
)


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, one in getattr(command, "commands", {}).items():
        yield from commands(one, (*path, name))


COMMANDS = dict(commands(typer.main.get_command(build_app())))


def test_the_commands_are_found() -> None:
    assert ("event", "log") in COMMANDS
    assert len(COMMANDS) > 50


def test_a_first_word_brings_its_own_commands_and_no_other() -> None:
    """As the whole program has them; a word that is none of them brings all, to be told what there is."""
    for first in (*ALONE, *NOUNS):
        found = dict(commands(typer.main.get_command(build_app(first))))
        assert set(found) == {(), *(path for path in COMMANDS if path[:1] == (first,))}
        assert all(found[path].help == COMMANDS[path].help for path in found)
    assert dict(commands(typer.main.get_command(build_app("tnant")))).keys() == COMMANDS.keys()


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_line_of_help_stands_alone(path: tuple[str, ...]) -> None:
    """Each command, argument and option has a sentence of its own."""
    command = COMMANDS[path]
    lines = [(path[-1] if path else "macaw", command.help)]
    lines += [(one.name, one.help) for one in command.params if one.name != "help"]

    assert [name for name, line in lines if not line] == []
    assert [line for _, line in lines if WITHOUT_A_SUBJECT.match(line)] == []


def test_the_help_of_an_event_says_that_it_is_written_to_the_audit_log(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in ((), ("event",), ("event", "log")):
        assert "to the audit log" in " ".join(run(capsys, *argv, "--help").out.split())
