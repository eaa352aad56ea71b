"""Output that nobody takes, and files that are none: one sentence each, and no advice that does harm twice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from macaw.cli.terminal.errors import sentence
from tests.cli.commands import assert_one_sentence, run


def test_a_full_disk_is_told_as_one_and_nobody_is_told_to_repeat() -> None:
    """What acts has acted: whoever runs it again for its output pays twice."""
    program = "from macaw.cli import app, entry\nfrom macaw.cli.terminal.output import show_json\n"
    for size in (1, 1_000_000):  # at the end, and in the middle
        code = (
            program + f"app.build_app = lambda _: lambda **_: show_json('x' * {size})\nraise SystemExit(entry.main([]))"
        )
        with Path("/dev/full").open("w") as full:
            ran = subprocess.run(
                [sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, check=False
            )

        assert ran.returncode == 1
        assert ran.stderr.startswith("macaw: the output could not be written: No space left on device")
        assert "do not run it again" in ran.stderr
        assert ran.stderr.count("\n") == 1


def test_an_error_that_cannot_be_told_is_still_a_failure() -> None:
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run([sys.executable, "-m", "macaw.cli", "tnant"], stdout=full, stderr=full, check=False)

    assert ran.returncode == 2


def test_no_sentence_advises_to_repeat_what_may_have_acted() -> None:
    told = sentence(RuntimeError("x"))

    assert "run it again with" not in told
    assert "may or may not have taken effect" in told


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "secret", "huge", "not text"])
def test_what_is_named_and_is_no_such_file_is_told(known: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of each kind, to each command that reads one: it answers at once, in one sentence."""
    path = known / "given.json"
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "device":
            path = Path("/dev/zero")
        case "secret":
            path.write_text("{}")
            path.chmod(0)
        case "huge":
            with path.open("wb") as file:
                file.truncate(1 << 40)
        case "not text":
            path.write_bytes(b"\xff\xfe\x00")
    if kind == "secret" and os.geteuid() == 0:
        return  # root reads it
    at = [] if kind == "pipe" else [("invoke", "r", "--as", "a", "--params", f"@{path}")]
    commands = [
        ("policy", "publish", str(path)),
        ("policy", "test", str(path)),
        ("dev", "session", "open", "alice", "--persons", str(path)),
        *at,
    ]
    for argv in commands:
        ran = run(capsys, *argv)

        assert ran.status in {1, 2}, argv
        assert ran.err.startswith("macaw: "), argv
        assert "Traceback" not in ran.err
        assert "unexpected" not in ran.err, argv


@pytest.mark.parametrize("text", ["", "ab", "z" * 64, "ab" * 33, "\x00" * 64])
def test_a_genesis_that_is_none_is_told(known: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    [file] = (known / ".macaw" / "tenants").glob("*/genesis")
    file.write_text(text)

    for argv in (("audit", "verify", "."), ("invoke", "tool:a/b", "--as", "x")):
        ran = run(capsys, *argv)

        assert_one_sentence(ran, 1)
        assert "64 hex digits" in ran.err


def test_a_stranger_is_told_where_the_genesis_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who checks evidence has no installation, and needs none."""
    monkeypatch.delenv("MACAW_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    ran = run(capsys, "audit", "verify", ".")

    assert_one_sentence(ran, 1)
    assert "--genesis HEX" in ran.err
    assert "macaw up" not in ran.err


def test_files_beside_policies_are_not_passed_over_in_silence(known: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = known / "policies"
    folder.mkdir()
    (folder / "a.json").write_text(json.dumps({"policy_id": "role:a", "resources": ["tool:a/b"]}))
    (folder / "b.yaml").write_text("policy_id: role:b")

    ran = run(capsys, "policy", "validate", str(folder))

    assert_one_sentence(ran, 1)
    assert "b.yaml would be passed over" in ran.err


def test_a_fault_of_a_policy_has_a_line_and_what_is_wanted(known: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = known / "role.json"
    path.write_text('{\n  "policy_id": "role:x",\n  "resources": [\n    "tool:a/*",\n  ]\n}')
    assert f"{path}:5:3" in run(capsys, "policy", "validate", str(path)).out
    path.write_text('{\n  "policy_id": "role:x",\n  "resources": "tool:a"\n}')
    ran = run(capsys, "policy", "publish", str(path))

    assert_one_sentence(ran, 1)
    assert "E_TYPE in line 3, column 3, at '/resources': the value has another type: want an array" in ran.err
