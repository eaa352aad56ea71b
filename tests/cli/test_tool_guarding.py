"""`macaw tool serve` with its owner's guard: a file that is faulty, or that others may write, stops the start."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer

from macaw.cli.tool.guarding import GuardError, guard_of
from macaw.policies.files import PolicyFilesError
from producers.tools import ToolFunction, collect_tools, tool
from producers.tools.admission import AdmittedCall
from producers.tools.execution import Ended
from producers.tools.guard import UNGUARDED, HostGuard
from producers.tools.registration import declared_by
from schemas import codec, topics
from schemas.events.tools import ToolDeclaration
from schemas.records import Decision
from tests.cli.commands import assert_one_sentence, run
from tests.world import Office

GOOD = {"policy_id": "tool:bank", "resources": ["tool:bank/*"]}


@tool
def pay(amount: float) -> float:
    """Pay an amount."""
    return amount


def guarded(*policies: Path, mask: str | None = None, check_schemas: bool = False) -> HostGuard:
    tools: tuple[ToolFunction, ...] = collect_tools(pay)
    return guard_of("bank", "acme", tools, mask=mask, policies=policies, check_schemas=check_schemas)


def written(folder: Path, document: Any, name: str = "bank.json") -> Path:
    path = folder / name
    path.write_text(document if isinstance(document, str) else json.dumps(document, indent=1))
    path.chmod(0o644)
    folder.chmod(0o755)
    return path


def test_without_options_there_is_no_guard() -> None:
    assert guarded() == UNGUARDED


def test_files_of_the_owner_are_taken(tmp_path: Path) -> None:
    more = written(tmp_path, {"policy_id": "agent:bot", "denied_resources": ["tool:bank/close"]}, "more.json")

    assert guarded(written(tmp_path, GOOD), more).policy is not None


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_file_that_others_may_write_stops_the_start(tmp_path: Path, mode: int) -> None:
    """They would decide for the tool's owner; also through a link to it."""
    file, link = written(tmp_path, GOOD), tmp_path / "link.json"
    file.chmod(mode)
    link.symlink_to(file)

    for path in (file, link):
        with pytest.raises(GuardError, match=r"others may write .*`chmod go-w"):
            guarded(path)


def test_a_file_in_a_folder_that_others_may_write_stops_the_start(tmp_path: Path) -> None:
    """They would put another in its place; in a folder like /tmp they cannot."""
    file, links = written(tmp_path, GOOD), tmp_path / "links"
    links.mkdir()
    link = links / "bank.json"
    link.symlink_to(file)
    for path, folder in ((file, tmp_path), (link, links)):
        folder.chmod(0o777)
        with pytest.raises(GuardError, match="others may replace"):
            guarded(path)
        folder.chmod(0o1777)
        assert guarded(path).policy is not None


def test_a_rule_that_a_host_cannot_judge_is_named_with_its_line(tmp_path: Path) -> None:
    file = written(tmp_path, {**GOOD, "constraints": {"rate_limit": 5}})

    with pytest.raises(GuardError, match=r"bank\.json is refused in line 7, .*`rate_limit`"):
        guarded(file)


def test_a_rule_on_stamps_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path, {**GOOD, "attestations": ["deny::{stamps.secrets.found == true}"]})

    with pytest.raises(GuardError, match=r"line 7, .*only the monitor vouches for `stamps`"):
        guarded(file)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ('{"policy_id": "tool:bank",\n "resources": ["tool:bank/*"],,}', "line 2"),
        ({**GOOD, "ressources": []}, "line 6.*ressources"),
        ({**GOOD, "extends": "base"}, "E_EXTENDS_UNKNOWN in line 6"),
    ],
)
def test_a_file_that_does_not_parse_is_told_with_its_line(tmp_path: Path, document: Any, says: str) -> None:
    with pytest.raises(PolicyFilesError, match=says):
        guarded(written(tmp_path, document))


def test_two_files_with_one_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyFilesError, match="E_CONFLICT"):
        guarded(written(tmp_path, GOOD), written(tmp_path, GOOD, "again.json"))


@pytest.mark.parametrize("absent", ["absent.json", "."])
def test_a_place_without_a_file_is_refused(tmp_path: Path, absent: str) -> None:
    with pytest.raises(GuardError, match=r"absent|regular file"):
        guarded(tmp_path / absent)


@pytest.mark.parametrize("mask", ["secrets", "personal", "secrets,personal", "personal, secrets"])
def test_kinds_of_masking_are_taken(mask: str) -> None:
    masking = guarded(mask=mask).masking

    assert masking is not None
    assert masking.masked_json('"jane.roe@example.org"', 100) == (
        '"[masked:email]"' if "personal" in mask else '"jane.roe@example.org"'
    )


@pytest.mark.parametrize("mask", ["", "passwords", "secrets,", "secrets personal"])
def test_another_kind_is_refused(mask: str) -> None:
    with pytest.raises(typer.BadParameter, match="want secrets or personal"):
        guarded(mask=mask)


def test_schemas_without_a_schema_are_refused() -> None:
    """Whoever asks for the check must not believe that it happens."""
    with pytest.raises(GuardError, match="no operation of bank declares a schema"):
        guarded(check_schemas=True)


def declaring(monkeypatch: pytest.MonkeyPatch, **schemas: str) -> None:
    """Let the tool declare schemas, however its author gives them."""

    def declared(app: str, tools: Sequence[ToolFunction]) -> tuple[ToolDeclaration, ...]:
        return tuple(replace(one, **schemas) for one in declared_by(app, tools))

    monkeypatch.setattr("producers.tools.registration.declared_by", declared)


def test_declared_schemas_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    declaring(monkeypatch, output_schema='{"type": "integer"}')
    guard, call = guarded(check_schemas=True), call_of("tool:bank/pay")

    assert guard.refusal(call, 0) is None
    assert guard.reported(call, Ended("ok", "1")) == Ended("ok", "1")
    assert guard.reported(call, Ended("ok", "1.5")).outcome == "failed"


def test_a_schema_that_nobody_can_judge_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    declaring(monkeypatch, input_schema='{"type": "objekt"}')

    with pytest.raises(GuardError, match="a schema of tool:bank/pay is refused"):
        guarded(check_schemas=True)


def call_of(resource: str) -> AdmittedCall:
    [output] = Office.opened("guarded").call().of(topics.DECISIONS)
    decision: Decision = codec.decode_as(Decision, output.value or b"")
    return AdmittedCall(replace(decision, resource=resource), b"leaf", {"amount": 1}, "bot")


@pytest.mark.parametrize(
    ("options", "module"),
    [
        ({"mask": "personal"}, "processors.content.personal"),
        ({"check_schemas": True}, "processors.content.parameter_schemas"),
    ],
)
def test_missing_packages_are_told_with_the_command_that_installs_them(
    monkeypatch: pytest.MonkeyPatch, options: Any, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delattr(module, raising=False)  # of its package, if another test has imported it

    with pytest.raises(GuardError, match=r"pip install 'macaw-streams\[server\]'"):
        guarded(**options)


def test_the_command_ends_before_it_registers_anything(known: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The broker of this installation never answers: a fault of the file is told at once."""
    (known / "bank.py").write_text(
        "from producers.tools import tool\n\n@tool\ndef pay(amount: float) -> float:\n    return amount\n"
    )
    file = written(known, {**GOOD, "sequence": "x"})

    ran = run(capsys, "tool", "serve", "bank=bank.py", "--policy", str(file))
    assert_one_sentence(ran, 1)
    assert "bank.json is refused: E_" in ran.err
    ran = run(capsys, "tool", "serve", "bank=bank.py", "--mask", "all")
    assert_one_sentence(ran, 2)
    assert "want secrets or personal" in ran.err
