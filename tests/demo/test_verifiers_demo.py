"""`make demo-verifiers`, played as it is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from examples.demo.verifiers.desk import ACCOUNT, TOKEN, Desk
from examples.demo.verifiers.pairs import AUTHORIZATION, CONTENT, WORKFLOW
from processors.calls.verifiers import ruled
from processors.calls.verifiers.pipeline import VERIFIERS
from producers.tools import collect_tools

ROOT = Path(__file__).parents[2]
DEMO_SECONDS = 300
REASONS = (
    "BAD_SIGNATURE",
    "RESOURCE_NOT_ALLOWED",
    "RATE_LIMITED",
    "PROMPT_INJECTION",
    "COMMAND_INJECTION",
    "PERSONAL_DATA",
    "SECRET_FOUND",
    "PARAMETERS_INVALID",
    "SEQUENCE_MISSING",
    "PARAM_NOT_ALLOWED",
)


@pytest.mark.broker
def test_each_attack_is_stopped_and_explained_and_the_innocent_call_passes(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.demo.verifiers", "--keep", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEMO_SECONDS,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert "39 of 39 claims held" in done.stdout
    assert [reason for reason in REASONS if f" {reason}" not in done.stdout] == []
    assert done.stdout.count("is withheld") == 3
    assert TOKEN not in done.stdout
    assert ACCOUNT not in done.stdout


def test_every_verifier_has_an_attack_under_its_own_priority() -> None:
    played = {(one.verifier, one.priority) for one in (AUTHORIZATION, *CONTENT, WORKFLOW)}
    there = {(one.name, one.priority) for one in VERIFIERS}
    there |= {(one.verifier, one.priority) for one in (ruled.AUTHORIZATION, ruled.WORKFLOW)}

    assert played == there
    assert (ruled.SIGNATURE.priority, ruled.RATE.priority) == (10, 30)  # played apart


def test_the_tools_declare_the_schemas_that_the_demo_attacks() -> None:
    tools = {one.name: one for one in collect_tools(Desk())}

    assert {name for name, one in tools.items() if one.input_schema} == {"ticket", "query"}
    assert {name for name, one in tools.items() if one.output_schema} == {"total"}
