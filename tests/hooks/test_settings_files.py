"""The hook in an agent's settings: written once, replaced in place, removed, and nothing else touched."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from macaw.hooks.settings_files import HookEntry, HookSettingsError, install, is_ours, settings_file, uninstall

OTHERS: dict[str, Any] = {
    "model": "opus",
    "hooks": {
        "PreToolUse": [{"matcher": "Bash", "hooks": [{"type": "command", "command": "their own"}]}],
        "Stop": [{"hooks": [{"type": "command", "command": "done"}]}],
    },
    "permissions": {"deny": ["Read(./.env)"]},
}


def entry(tmp_path: Path, agent: str = "claude-code", *, enforce: bool = False) -> HookEntry:
    return HookEntry(agent, enforce, "coder", "coding-host", "acme", tmp_path, tmp_path / "hooks" / "h.sock", 25)


def ours(path: Path, event: str = "PreToolUse") -> list[dict[str, Any]]:
    groups = json.loads(path.read_text()).get("hooks", {}).get(event, [])
    return [one for group in groups for one in group["hooks"] if is_ours(one)]


@pytest.mark.parametrize("agent", ["claude-code", "codex"])
def test_what_others_wrote_stays_as_it_is(tmp_path: Path, agent: str) -> None:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(OTHERS))
    path.chmod(0o640)

    assert install(path, entry(tmp_path, agent))
    assert not install(path, entry(tmp_path, agent))  # a second time changes nothing
    assert install(path, entry(tmp_path, agent, enforce=True))
    written = json.loads(path.read_text())
    assert len(ours(path)) == len(ours(path, "PostToolUse")) == 1
    assert "--enforce" in ours(path)[0]["command"]
    assert ours(path)[0]["timeout"] > 25
    assert written["hooks"]["PreToolUse"][0] == OTHERS["hooks"]["PreToolUse"][0]
    assert {name: value for name, value in written.items() if name != "hooks"} == {
        name: value for name, value in OTHERS.items() if name != "hooks"
    }
    assert path.stat().st_mode & 0o777 == 0o640
    assert uninstall(path)
    assert not uninstall(path)
    assert json.loads(path.read_text()) == OTHERS


def test_a_group_that_is_shared_with_another_hook_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    install(path, entry(tmp_path))
    mixed = json.loads(path.read_text())
    mixed["hooks"]["PreToolUse"][0]["hooks"].insert(0, {"type": "command", "command": "theirs"})
    path.write_text(json.dumps(mixed))

    assert uninstall(path)
    assert json.loads(path.read_text()) == {
        "hooks": {"PreToolUse": [{"matcher": "*", "hooks": [{"type": "command", "command": "theirs"}]}]}
    }


def test_a_file_behind_a_link_is_written_through_it(tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    (tmp_path / "link.json").symlink_to(tmp_path / "dotfiles" / "settings.json")
    install(tmp_path / "link.json", entry(tmp_path))

    assert (tmp_path / "link.json").is_symlink()
    assert ours(tmp_path / "dotfiles" / "settings.json")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "// comment\n{}", '{"hooks": []}', '{"hooks": {"PreToolUse": {}}}', '{"a": 1, "a": 2}'],
)
def test_a_file_that_is_not_understood_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "settings.json"
    path.write_text(text)
    for change in (lambda: install(path, entry(tmp_path)), lambda: uninstall(path)):
        with pytest.raises(HookSettingsError):
            change()

    assert path.read_text() == text
    assert [one.name for one in tmp_path.iterdir()] == ["settings.json"]


def test_the_files_are_those_that_the_agents_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/dev")
    monkeypatch.delenv("CODEX_HOME", raising=False)
    places = {
        (agent, scope): str(settings_file(agent, scope, project=tmp_path))
        for agent in ("claude-code", "codex")
        for scope in ("user", "project")
    }
    assert places == {
        ("claude-code", "user"): "/home/dev/.claude/settings.json",
        ("claude-code", "project"): str(tmp_path / ".claude/settings.local.json"),
        ("codex", "user"): "/home/dev/.codex/hooks.json",
        ("codex", "project"): str(tmp_path / ".codex/hooks.json"),
    }
    monkeypatch.setenv("CODEX_HOME", "/etc/codex")
    assert str(settings_file("codex", "user", project=tmp_path)) == "/etc/codex/hooks.json"


@pytest.mark.parametrize(("enforce", "status"), [(True, 2), (False, 0)])
def test_a_hook_whose_python_is_gone_answers_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, enforce: bool, status: int
) -> None:
    """The agents take any status but 2, and a hook that does not read, for a yes: so it is 2, once all is read."""
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    command = entry(tmp_path / "it's a folder", enforce=enforce).command()
    ran = subprocess.run(["/bin/sh", "-c", command], input=b"x" * 3_000_000, capture_output=True, check=False)

    assert (ran.returncode, ran.stdout) == (status, b"")
    assert b"the hook itself is broken" in ran.stderr
