"""The real Claude Code and Codex behind their hooks: what the log denies does not happen, and the model is told."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from macaw.installation.tenancy import admin_connection, publish_policies, register_agent
from macaw.installation.tenant_limits import set_settings
from streams.local.choose import BrokerInfo
from tests.cli.commands import run
from tests.coding_agents.programs import CODEX_PLAIN_MODEL, PACKAGES, CodingAgent, exec_command, write_stdin
from tests.installation import Installation, installed
from tests.optional import skip_without

pytestmark = [pytest.mark.broker, pytest.mark.timeout(900)]

OFFERS = ["tool:shell/*", "tool:files/*", "tool:agent/*", "tool:tracker/*"]
CODER = {
    "policy_id": "agent:coder",
    "resources": ["tool:shell/run", "tool:files/*", "tool:tracker/*"],
    "denied_resources": ["tool:tracker/delete_repo"],
    "constraints": {
        "parameters": {
            "tool:shell/run": {
                "stamps.risk.command.class": {"allowed_values": ["low", "medium"], "required": True},
                "unsandboxed": {"allowed_values": [False]},
            },
            "tool:files/edit": {"path": {"allowed_values": ["src/**"], "required": True}},
        }
    },
}
PATCHER = {  # every command is allowed to it, and not every edit
    "policy_id": "agent:patcher",
    "resources": ["tool:shell/run", "tool:files/edit"],
    "constraints": {"parameters": {"tool:files/edit": {"path": {"allowed_values": ["src/**"], "required": True}}}},
}
NAMES = ("claude-code", "codex")
DANGEROUS = "python3 -c \"open('denied.txt', 'w')\""
# Codex takes a hook that nobody has reviewed for none: these tests review it by this option.
REVIEWED = {"claude-code": (), "codex": ("--dangerously-bypass-hook-trust",)}


@pytest.fixture(scope="module")
def here(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    if why := PACKAGES.why_not():
        skip_without("the coding agents", why)
    tenant = f"t{secrets.token_hex(4)}"
    with installed(broker, tmp_path_factory.mktemp("home"), tenant) as running:
        register_agent(running.home, running.folder, "coding-host", role="service", attributes={"offers": OFFERS})
        for name in ("coder", "patcher"):
            register_agent(running.home, running.folder, name, attributes={})
        publish_policies(running.home, running.folder, [json.dumps(CODER), json.dumps(PATCHER)], {})
        with admin_connection(running.home, running.folder) as admin:
            set_settings(admin, {"verifiers.parameters": "deny"})
        yield running


Install = Callable[..., CodingAgent]


@pytest.fixture
def agent_with_hook(
    here: Installation, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Install]:
    """Make an agent, and let `macaw hook install` write its settings."""
    monkeypatch.setenv("MACAW_HOME", str(here.home.path.parent.absolute()))

    def install(name: str, *how: str, principal: str = "coder") -> CodingAgent:
        agent = CodingAgent(name, tmp_path / name)
        monkeypatch.chdir(agent.project)
        monkeypatch.setenv("CODEX_HOME", str(agent.codex_home))
        scope = "project" if name == "claude-code" else "user"
        own = ("--as", principal, "--tenant", here.folder.tenant, "--scope", scope, "--seconds", "60")
        assert run(capsys, "hook", "install", name, *own, *how).status == 0
        return agent

    yield install
    assert run(capsys, "hook", "stop", "--tenant", here.folder.tenant).status == 0


def logged(here: Installation, capsys: pytest.CaptureFixture[str]) -> str:
    return run(capsys, "log", "intake", "--from-start", "--tenant", here.folder.tenant, "--json").out


def play(agent: CodingAgent) -> list[str]:
    """Let the agent do four things that the policy allows, and three that it denies; return what it says of them."""
    script = [
        agent.shell("touch allowed.txt"),
        agent.shell(DANGEROUS),
        agent.write("src/new.txt"),
        agent.write("elsewhere.txt"),
        agent.tracker("list_issues"),
        agent.tracker("delete_repo"),
        agent.shell("git status"),
    ]
    return agent.play(script, *REVIEWED[agent.name])


def done(agent: CodingAgent) -> set[str]:
    """Return what has happened, whatever anybody says."""
    files = {str(one.relative_to(agent.project)) for one in agent.project.rglob("*.txt")}
    return files | {one.name for one in agent.tracked.iterdir()}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_denied_does_not_happen_and_the_model_is_told(
    name: str, here: Installation, agent_with_hook: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = agent_with_hook(name, "--enforce")
    told = play(agent)

    assert done(agent) == {"src/there.txt", "allowed.txt", "src/new.txt", "listed"}
    assert len(told) == 7
    for at, reason in ((1, "PARAM_NOT_ALLOWED"), (3, "PARAM_NOT_ALLOWED"), (5, "RESOURCE_DENIED")):
        assert reason in told[at], told[at]
        assert "src/**" not in told[at]
    assert "a/b has one issue" in told[4]
    assert "coding_agent.tool_used" in logged(here, capsys)  # what the agent says happened


@pytest.mark.parametrize("name", NAMES)
def test_what_is_only_observed_happens_and_is_on_the_log(name: str, agent_with_hook: Install) -> None:
    agent = agent_with_hook(name, "--observe")
    told = play(agent)

    assert done(agent) >= {"allowed.txt", "denied.txt", "src/new.txt", "elsewhere.txt", "listed", "deleted"}
    assert not any("PARAM_NOT_ALLOWED" in one for one in told)


@pytest.mark.parametrize("name", NAMES)
def test_a_broken_gate_lets_nothing_happen_and_says_so(name: str, agent_with_hook: Install) -> None:
    """Nobody has registered this host: its gate cannot open a session."""
    agent = agent_with_hook(name, "--enforce", "--host", "nobody")
    told = play(agent)

    assert done(agent) == {"src/there.txt"}
    assert all("the gate is broken" in one for one in told), told


def test_codex_passes_over_a_hook_that_nobody_has_reviewed(agent_with_hook: Install) -> None:
    """A fact of Codex that docs/adapters.md tells: the day on which this fails, the page can say less."""
    agent = agent_with_hook("codex", "--enforce")
    agent.play([agent.shell("touch allowed.txt"), agent.shell(DANGEROUS)])
    assert done(agent) >= {"allowed.txt", "denied.txt"}


def test_a_patch_in_a_command_of_codex_is_an_edit(agent_with_hook: Install) -> None:
    """Models that Codex does not know have no other way: it takes the patch out of the command, and applies it."""
    agent = agent_with_hook("codex", "--enforce", principal="patcher")
    patch = "apply_patch <<'EOF'\n*** Begin Patch\n*** Add File: {}\n+x\n*** End Patch\nEOF\n"
    script = [exec_command(cmd=patch.format(path)) for path in ("src/new.txt", "elsewhere.txt")]
    script.append(exec_command(cmd=patch.format("src/far.txt"), workdir=str(agent.base)))
    told = agent.play(script, *REVIEWED["codex"], model=CODEX_PLAIN_MODEL)

    assert done(agent) == {"src/there.txt", "src/new.txt"}
    assert not (agent.base / "src" / "far.txt").exists()
    assert all("PARAM_NOT_ALLOWED" in one for one in told[1:]), told


def test_codex_writes_to_a_terminal_without_asking_its_hook_unless_it_has_none(agent_with_hook: Install) -> None:
    """As above, and the way out that docs/adapters.md names."""
    agent = agent_with_hook("codex", "--enforce", principal="patcher")
    script = [exec_command(cmd="sh", tty=True, yield_time_ms=500), write_stdin("touch unseen.txt; exit\n")]
    agent.play(script, *REVIEWED["codex"], "--disable", "unified_exec_tty", model=CODEX_PLAIN_MODEL)
    assert "unseen.txt" not in done(agent)
    agent.play(script, *REVIEWED["codex"], model=CODEX_PLAIN_MODEL)
    assert "unseen.txt" in done(agent)
