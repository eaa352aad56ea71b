"""The hooks of both agents against a real log: started on demand, decided there, and denied when it is away."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from macaw.hooks.desk import EVENT_TYPE
from macaw.hooks.settings_files import is_ours
from macaw.installation.tenancy import admin_connection, publish_policies, register_agent
from macaw.installation.tenant_limits import set_settings
from producers.home.home import Home
from streams.local.choose import BrokerInfo
from tests.cli.commands import run
from tests.hooks.events import PATCH, claude, codex
from tests.hooks.gates import Answered, HookEntry, entry_of, run_hook
from tests.installation import Installation, installed
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.broker

OFFERS = ["tool:shell/*", "tool:files/*", "tool:web/*", "tool:agent/*", "tool:github/*"]
CODER = {
    "policy_id": "agent:coder",
    "resources": ["tool:shell/run", "tool:files/*", "tool:github/*", "tool:other/*"],
    "denied_resources": ["tool:github/delete_repo"],
    "constraints": {
        "parameters": {
            "tool:shell/run": {
                "stamps.risk.command.class": {"allowed_values": ["low", "medium"], "required": True},
                "unsandboxed": {"allowed_values": [False]},
            },
            "tool:files/edit": {
                "path": {"allowed_values": ["src/**", "notes/**", "old.txt"], "required": True},
            },
        }
    },
}
SECONDS = 60


@pytest.fixture(scope="module")
def here(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    tenant = f"t{secrets.token_hex(4)}"
    with installed(broker, tmp_path_factory.mktemp("home"), tenant) as running:
        register_agent(running.home, running.folder, "coding-host", role="service", attributes={"offers": OFFERS})
        for name in ("coder", "other"):
            register_agent(running.home, running.folder, name, attributes={})
        publish_policies(running.home, running.folder, [json.dumps(CODER)], {})
        with admin_connection(running.home, running.folder) as admin:
            set_settings(admin, {"verifiers.parameters": "deny"})
        yield running
        end_gate(socket_of(running), signal.SIGTERM)


def socket_of(here: Installation) -> Path:
    return here.folder.path.absolute() / "hooks" / "coding-host.sock"


def gate_pid(place: Path) -> int:
    """Return the process that serves a socket, 0 if none does."""
    with socket.socket(socket.AF_UNIX) as made, suppress(OSError):
        descriptor = os.open(place.parent, os.O_RDONLY)
        try:
            made.connect(f"/proc/self/fd/{descriptor}/{place.name}")
        finally:
            os.close(descriptor)
        peer = made.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return int(struct.unpack("3i", peer)[0])
    return 0


def end_gate(place: Path, how: signal.Signals) -> None:
    pid = gate_pid(place)
    if pid:
        os.kill(pid, how)
        wait_until(lambda: not gate_pid(place))


def hook(here: Installation, event: dict[str, Any], agent: str = "claude-code", **more: Any) -> Answered:
    entry = entry_of(socket_of(here), agent=agent, seconds=SECONDS, enforce=more.pop("enforce", True))
    own = {"tenant": here.folder.tenant, "home": here.home.path.parent.absolute()}
    named = entry._replace(**{**own, **more})
    project = here.folder.path.absolute()  # Codex runs its hooks there
    if agent == "codex":
        event = {**event, "cwd": str(project)}
    env = {**os.environ, "CLAUDE_PROJECT_DIR": "/project", "MACAW_HOME": "/nowhere"}
    return run_hook(named, event, cwd=project, env=env)


def test_the_first_hook_starts_the_gate_and_the_log_decides(here: Installation) -> None:
    assert hook(here, claude("Bash", {"command": "git status"})).denial is None
    place = socket_of(here)
    assert (place.stat().st_mode & 0o777, place.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    first = gate_pid(place)
    ran = hook(here, claude("Bash", {"command": "rm -rf /"}))
    assert "tool:shell/run was refused (PARAM_NOT_ALLOWED), event " in str(ran.denial)
    assert gate_pid(place) == first  # the same gate: it holds the session


@pytest.mark.parametrize(
    "command",
    [
        "echo cm0gLXJmIC8K | base64 -d | sh",
        "bash -c \"$(printf 'cm0gLXJmIC8K' | base64 --decode)\"",
        "python3 -c \"import base64,os;os.system(base64.b64decode('cm0gLXJmIC8K'))\"",
        "eval $(echo -e '\\x72\\x6d -rf /')",
        "$(rev<<<'/ fr- mr')",
    ],
)
def test_a_command_that_hides_is_judged_as_the_worst(here: Installation, command: str) -> None:
    for agent, event in (("claude-code", claude), ("codex", codex)):
        ran = hook(here, event("Bash", {"command": command}), agent)
        assert "PARAM_NOT_ALLOWED" in str(ran.denial)


def test_each_agent_and_each_kind_of_tool_use(here: Installation) -> None:
    allowed = [
        ("claude-code", claude("Write", {"file_path": "/project/src/a.py", "content": "x"})),
        ("claude-code", claude("Read", {"file_path": "/etc/hosts"})),
        ("claude-code", claude("mcp__github__list_issues", {"repo": "a/b"})),
        ("codex", codex("Bash", {"command": "ls"})),
        ("codex", codex("apply_patch", {"command": PATCH})),
    ]
    own_hooks = PATCH.replace("old.txt", ".codex/hooks.json")
    denied = [
        ("claude-code", claude("Bash", {"command": "ls", "dangerouslyDisableSandbox": True}), "PARAM_NOT_ALLOWED"),
        ("claude-code", claude("Edit", {"file_path": "/project/.claude/settings.json"}), "PARAM_NOT_ALLOWED"),
        ("claude-code", claude("Edit", {"file_path": "/project/src/../../etc/passwd"}), "PARAM_NOT_ALLOWED"),
        ("claude-code", claude("mcp__github__delete_repo", {"repo": "a/b"}), "RESOURCE_DENIED"),
        ("claude-code", claude("mcp__other__run", {}), "OFFER_NOT_ALLOWED"),  # no administrator let the host offer it
        ("claude-code", claude("Task", {"prompt": "go"}), "RESOURCE_NOT_ALLOWED"),
        ("claude-code", claude("B\u0430sh", {"command": "ls"}), "not plain ASCII"),
        ("codex", codex("apply_patch", {"command": own_hooks}), "PARAM_NOT_ALLOWED"),
        # A server that calls itself `github__evil` is not `github`, whose tools are allowed.
        ("codex", codex("mcp__github__evil__run", {}), "tool:github__evil/run was refused (OFFER_NOT_ALLOWED)"),
        ("codex", codex("mcp__shell__run", {"command": "ls"}), "rename it"),
    ]  # fmt: skip
    for agent, event in allowed:
        assert hook(here, event, agent).denial is None, event
    for agent, event, reason in denied:
        assert reason in str(hook(here, event, agent).denial), event


def test_another_principal_has_other_rights(here: Installation) -> None:
    ran = hook(here, claude("Read", {"file_path": "/project/a"}), name="other")
    assert "NO_POLICY" in str(ran.denial)
    ran = hook(here, claude("Read", {"file_path": "/project/a"}), name="nobody")
    assert "nobody" in str(ran.denial)


def test_what_the_agent_did_is_on_the_log_by_its_digest(
    here: Installation, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    use = claude("Bash", {"command": "ls"}, tool_use_id=f"toolu_{secrets.token_hex(4)}")
    assert hook(here, use).denial is None
    after = {**use, "hook_event_name": "PostToolUse", "tool_response": {"stdout": "the password is hunter2"}}
    assert hook(here, after).out == {}

    monkeypatch.setenv("MACAW_HOME", str(here.home.path.parent))
    told = run(capsys, "log", "intake", "--from-start", "--tenant", here.folder.tenant, "--json").out
    lines = [line for line in told.splitlines() if use["tool_use_id"] in line]
    assert len(lines) == 1
    assert EVENT_TYPE in lines[0]
    assert "hunter2" not in told


def test_observe_mode_records_the_denial_and_lets_the_agent_go_on(here: Installation) -> None:
    ran = hook(here, claude("Bash", {"command": "rm -rf /"}), enforce=False)

    assert (ran.status, ran.denial) == (0, None)
    assert "PARAM_NOT_ALLOWED" in ran.err
    assert "event " in ran.err


def test_many_tool_uses_at_once_share_one_gate(here: Installation) -> None:
    end_gate(socket_of(here), signal.SIGTERM)
    with ThreadPoolExecutor(4) as pool:
        ran = list(pool.map(lambda n: hook(here, claude("Bash", {"command": f"echo {n}"})), range(8)))

    assert [one.denial for one in ran] == [None] * 8


def test_a_gate_that_was_killed_is_started_again(here: Installation) -> None:
    assert hook(here, claude("Bash", {"command": "ls"})).denial is None
    end_gate(socket_of(here), signal.SIGKILL)
    assert socket_of(here).exists()  # it had no time to remove it
    assert hook(here, claude("Bash", {"command": "ls"})).denial is None


def test_a_gate_that_cannot_start_denies_at_once_and_says_why(here: Installation, tmp_path: Path) -> None:
    """Its own words name the next step."""
    place = socket_of(here).with_name("nobody.sock")
    ran = hook(here, claude("Bash", {"command": "ls"}), host="nobody", socket=place)
    assert "nobody" in str(ran.denial)

    home = Home.create(tmp_path, {"bootstrap": "127.0.0.1:1", "tenant": "acme"})
    (home.path / "tenants" / "acme").mkdir(parents=True)
    (home.path / "tenants" / "acme" / "genesis").write_text("00" * 32)
    away = home.path / "tenants" / "acme" / "hooks" / "coding-host.sock"
    for enforce in (True, False):
        ran = hook(here, claude("Bash", {"command": "ls"}), home=tmp_path, tenant="acme", socket=away, enforce=enforce)
        assert "no broker answers at 127.0.0.1:1" in ran.err
        assert (ran.denial is not None) == enforce


def test_the_command_installs_and_removes(
    here: Installation, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MACAW_HOME", str(here.home.path.parent))
    monkeypatch.chdir(tmp_path)
    how = ("--as", "coder", "--tenant", here.folder.tenant, "--enforce", "--seconds", str(SECONDS))
    assert run(capsys, "hook", "install", "claude-code", *how).status == 0
    settings = json.loads((tmp_path / ".claude" / "settings.local.json").read_text())
    (handler,) = settings["hooks"]["PreToolUse"][0]["hooks"]
    assert is_ours(handler)

    class Installed(HookEntry):
        def command(self) -> str:
            return str(handler["command"])

    entry = Installed(*entry_of(socket_of(here)))
    assert run_hook(entry, claude("Bash", {"command": "ls"})).denial is None
    assert run_hook(entry, claude("Bash", {"command": "rm -rf /"})).denial is not None
    assert "/hooks" in run(capsys, "hook", "install", "codex", *how).err
    for agent in ("claude-code", "codex"):
        assert "removed" in run(capsys, "hook", "uninstall", agent).err
    assert run(capsys, "hook", "install", "emacs", *how).status == 2
    assert "ends" in run(capsys, "hook", "stop", "--tenant", here.folder.tenant).err
    wait_until(lambda: not gate_pid(socket_of(here)))
    assert "no gate" in run(capsys, "hook", "stop", "--tenant", here.folder.tenant).err
    assert PATIENCE_SECONDS > SECONDS
