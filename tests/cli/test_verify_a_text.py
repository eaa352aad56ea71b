"""`macaw verify` of a text that is longer than the bound: it does not pass for one that was read to its end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from processors.calls.verifiers.texts import TEXT_BYTES_MAX
from tests.cli.commands import run


def test_a_text_that_was_not_read_to_its_end_does_not_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "long.txt"
    path.write_text("an innocent word, " * (TEXT_BYTES_MAX // 10))
    shown = run(capsys, "verify", f"@{path}")
    assert shown.status == 1
    assert "unread" in shown.out
    told = run(capsys, "verify", f"@{path}", "--json")
    assert told.status == 1
    assert all(one["unread"] and one["outcome"] == "deny" and not one["found"] for one in json.loads(told.out))


def test_a_text_that_was_read_passes_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    told = run(capsys, "verify", "an innocent word", "--json")
    assert told.status == 0
    assert not any(one["unread"] for one in json.loads(told.out))
    assert "unread" not in run(capsys, "verify", "an innocent word").out
