"""The process that an agent starts: it denies whatever breaks in enforce mode, and says so in both modes."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from macaw.hooks import thin
from tests.hooks.events import claude, codex
from tests.hooks.gates import entry_of, run_hook, says, stand_in

LS = claude("Bash", {"command": "ls"})


@pytest.fixture
def place() -> Iterator[Path]:
    """A socket's place, short enough for the stand-ins."""
    with tempfile.TemporaryDirectory(prefix="hooks-") as folder:
        yield Path(folder) / "hooks" / "host.sock"


def test_it_imports_the_standard_library_alone() -> None:
    tree = ast.parse(Path(thin.__file__).read_text("utf-8"))
    named = {one.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for one in node.names}
    named |= {node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}

    assert named <= sys.stdlib_module_names


@pytest.mark.parametrize("agent", ["claude-code", "codex"])
def test_an_allowed_use_leaves_the_agents_own_permissions_as_they_are(place: Path, agent: str) -> None:
    """No `allow`: it would pass over the questions that the agent asks its user, and Codex does not take it."""
    event = (codex if agent == "codex" else claude)("Bash", {"command": "ls"})
    with stand_in(place, says("allow")):
        for enforce in (True, False):
            ran = run_hook(entry_of(place, enforce=enforce, agent=agent), event)
            assert (ran.status, ran.out, ran.err) == (0, {}, "")


LATE = """
import signal, sys, time
from macaw.hooks import thin
class Slow:
    def write(self, text): sys.__stdout__.write(text); sys.__stdout__.flush(); time.sleep(30)
    def flush(self): pass
def deny(why): thin.write(thin.answer("PreToolUse", "deny", why, enforce=True), enforce=True)
def late(*_): sys.stdout = sys.__stdout__; deny("late")
signal.signal(signal.SIGALRM, late)
signal.setitimer(signal.ITIMER_REAL, 0.5)
sys.stdout = Slow()
deny("no")
"""


def test_a_denial_that_is_late_while_it_is_written_is_no_second_answer() -> None:
    """Two objects are no JSON: the agent would take them for text, and go on."""
    ran = subprocess.run([sys.executable, "-c", LATE], capture_output=True, check=False, timeout=60)
    assert ran.returncode == thin.STATUS_DENIED
    assert json.loads(ran.stdout)["hookSpecificOutput"]["permissionDecision"] == "deny"


@pytest.mark.parametrize("agent", ["claude-code", "codex"])
def test_a_denial_is_told_in_the_agents_own_form(place: Path, agent: str) -> None:
    with stand_in(place, says("deny", "tool:shell/run was refused (PARAM_DENIED), event 12")):
        ran = run_hook(entry_of(place, agent=agent), LS)
        assert (ran.status, ran.denial) == (0, "macaw: tool:shell/run was refused (PARAM_DENIED), event 12")
        observed = run_hook(entry_of(place, agent=agent, enforce=False), LS)
    assert (observed.status, observed.denial) == (0, None)
    assert "PARAM_DENIED" in observed.err
    assert "PARAM_DENIED" in observed.out["systemMessage"]


def test_the_gate_is_asked_with_the_whole_event(place: Path) -> None:
    seen: list[dict[str, Any]] = []

    def answer(request: bytes) -> bytes:
        seen.append(json.loads(request))
        return says("allow")(request)

    with stand_in(place, answer):
        run_hook(entry_of(place), LS, env={**os.environ, "CLAUDE_PROJECT_DIR": "/project"})
    assert (seen[0]["event"], seen[0]["as"], seen[0]["agent"]) == (LS, "coder", "claude-code")
    assert seen[0]["project"] == "/project"


def test_a_use_that_has_run_is_never_denied(place: Path) -> None:
    after = {**LS, "hook_event_name": "PostToolUse", "tool_response": {"stdout": "x"}}
    with stand_in(place, says("deny", "no broker")):
        ran = run_hook(entry_of(place), after)

    assert (ran.status, ran.denial, ran.out["systemMessage"]) == (0, None, "macaw: no broker")


@pytest.mark.parametrize("name", ["PermissionRequest", "preToolUse", "PreToolUse ", "BeforeTool", ""])
def test_an_event_that_is_not_known_is_denied_by_the_exit_status(place: Path, name: str) -> None:
    """It may be the question before a tool runs: 2 is a no to both agents, and the gate is not to be asked in vain."""
    with stand_in(place, says("deny", "the hook's event is not known here")):
        ran = run_hook(entry_of(place), {**LS, "hook_event_name": name})
        assert (ran.status, ran.out) == (2, None)
        assert ran.err == "macaw: the hook's event is not known here\n"
        observed = run_hook(entry_of(place, enforce=False), {**LS, "hook_event_name": name})
    assert (observed.status, observed.denial) == (0, None)
    assert "is not known" in observed.err


@pytest.mark.parametrize("name", ["Stop", "SessionStart", "UserPromptSubmit"])
def test_an_event_in_which_no_tool_runs_needs_no_gate(place: Path, name: str) -> None:
    """A denial of `Stop` would keep the agent from ending."""
    ran = run_hook(entry_of(place), {**LS, "hook_event_name": name})
    assert (ran.status, ran.out, ran.err) == (0, {}, "")


def test_the_project_of_codex_is_the_folder_in_which_it_runs_the_hook(place: Path, tmp_path: Path) -> None:
    seen: list[str] = []

    def answer(request: bytes) -> bytes:
        seen.append(json.loads(request)["project"])
        return says("allow")(request)

    project = tmp_path / "project"
    project.mkdir()
    with stand_in(place, answer):
        run_hook(entry_of(place, agent="codex"), LS, cwd=project, env={**os.environ, "CLAUDE_PROJECT_DIR": "/"})
    assert seen == [str(project)]


BROKEN = {
    "silence": lambda _: None,
    "nothing": lambda _: b"",
    "no JSON": lambda _: b"allow",
    "another JSON": lambda _: b"[]",
    "another verdict": says("ask"),
    "a verdict in another case": says("ALLOW"),
    "no reason": lambda _: b'{"verdict": "allow"}',
    "a flood": lambda _: b" " * 200_000,
    "deep": lambda _: b"[" * 50_000,
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_gate_that_answers_badly_denies_in_enforce_mode_and_says_so(place: Path, how: str) -> None:
    with stand_in(place, BROKEN[how]):
        ran = run_hook(entry_of(place), LS)
        assert (ran.status, bool(ran.denial)) == (0, True)
        assert "the gate is broken" in str(ran.denial)
        assert "the gate is broken" in ran.err
        observed = run_hook(entry_of(place, enforce=False), LS)
    assert (observed.status, observed.denial) == (0, None)
    assert "the gate is broken" in observed.err
    assert "the gate is broken" in observed.out["systemMessage"]


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"{",
        b"[]",
        b'"PreToolUse"',
        b'{"hook_event_name": 1}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"hook_event_name": "PostToolUse", "hook_event_name": "PreToolUse"}',
        b'{"hook_event_name": "PreToolUse", "tool_name": "Bash", "tool_name": "Read"}',
        json.dumps({**LS, "more": "x" * thin.INPUT_BYTES_MAX * 4}).encode(),
    ],
)
def test_an_input_that_is_no_event_is_denied_without_asking(place: Path, given: bytes) -> None:
    """It is read to its end in any case: an agent that cannot write to its hook lets the tool run."""
    with stand_in(place, says("allow")):
        ran = run_hook(entry_of(place), given)

    assert (ran.status, bool(ran.denial)) == (0, True)


def test_a_socket_that_others_can_reach_is_not_asked(place: Path) -> None:
    with stand_in(place, says("allow")):
        place.chmod(0o666)
        assert "not this user's alone" in str(run_hook(entry_of(place), LS).denial)
        place.chmod(0o600)
        assert run_hook(entry_of(place), LS).denial is None
        place.parent.chmod(0o755)
        assert "not this user's alone" in str(run_hook(entry_of(place), LS).denial)
        place.parent.chmod(0o700)


def test_what_is_not_a_socket_is_not_asked(place: Path) -> None:
    place.parent.mkdir(mode=0o700)
    place.write_bytes(b"")
    place.chmod(0o600)
    assert "not this user's alone" in str(run_hook(entry_of(place), LS).denial)
    with stand_in(place.with_name("other.sock"), says("allow")):
        place.unlink()
        place.symlink_to(place.with_name("other.sock"))
        assert "not this user's alone" in str(run_hook(entry_of(place), LS).denial)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a socket to another user")
def test_the_socket_of_another_user_is_not_asked(place: Path) -> None:
    with stand_in(place, says("allow")):
        os.chown(place, 65534, 65534)
        assert "not this user's alone" in str(run_hook(entry_of(place), LS).denial)
        os.chown(place, 0, 0)
        os.chown(place.parent, 65534, 65534)
        assert "not this user's alone" in str(run_hook(entry_of(place), LS).denial)
        os.chown(place.parent, 0, 0)


def test_a_folder_in_the_place_of_the_project_brings_no_module(place: Path, tmp_path: Path) -> None:
    """The agent's working directory, and its environment, belong to whoever wrote the project."""
    for name in ("json.py", "socket.py", "sitecustomize.py"):
        (tmp_path / name).write_text("import os\nos.write(1, b'{}')\nos._exit(0)\n")
    (tmp_path / "macaw").mkdir()
    (tmp_path / "macaw" / "__init__.py").write_text("raise SystemExit(0)")
    with stand_in(place, says("deny", "no")):
        ran = run_hook(entry_of(place), LS, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)})

    assert ran.denial == "macaw: no"


def test_a_reason_cannot_write_to_the_terminal(place: Path) -> None:
    with stand_in(place, says("deny", "no\x1b[2J\r\nmacaw: allowed")):
        ran = run_hook(entry_of(place), LS)

    assert "\x1b" not in ran.err
    assert ran.err.count("\n") == 1
