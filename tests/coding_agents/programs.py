"""The real Claude Code and Codex, headless, each against a model of the test's own: neither reaches its provider."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.coding_agents.model_server import DONE, LAST_SESSION, serving
from tests.npm import Packages

PACKAGES: Final = Packages(Path(__file__).with_name("node"), "coding-agents")
CLAUDE: Final = Path("node_modules", "@anthropic-ai", "claude-code", "cli-wrapper.cjs")
CODEX: Final = Path("node_modules", "@openai", "codex", "bin", "codex.js")
TRACKER: Final = Path(__file__).with_name("tracker.py")
PROGRAM_SECONDS: Final = 300.0
# Codex knows models by their names, and gives `apply_patch` and its own tools in one script (`exec`) to this one.
CODEX_MODEL: Final = "gpt-6-sol"
CODEX_PLAIN_MODEL: Final = "a-model-that-codex-does-not-know"  # it gets `exec_command` alone


@dataclass
class CodingAgent:
    """One agent with a home, a project and a tracker (MCP) of its own below `base`."""

    name: str
    base: Path

    def __post_init__(self) -> None:
        for folder in (self.project / "src", self.home, self.tracked, self.codex_home):
            folder.mkdir(parents=True)
        (self.project / "src" / "there.txt").write_text("one\n")

    @property
    def project(self) -> Path:
        return self.base / "project"

    @property
    def home(self) -> Path:
        return self.base / "home"

    @property
    def codex_home(self) -> Path:
        return self.base / "codex"

    @property
    def tracked(self) -> Path:
        return self.base / "tracked"

    def environ(self) -> dict[str, str]:
        """Return the agent's environment: nothing of the machine's own but the path."""
        quiet = {"DISABLE_TELEMETRY": "1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "IS_SANDBOX": "1"}
        own = {"HOME": str(self.home), "CODEX_HOME": str(self.codex_home), "STUB_KEY": "none"}
        return {"PATH": os.environ["PATH"], "ANTHROPIC_API_KEY": "none", **quiet, **own}

    def play(self, script: list[dict[str, Any]], *how: str, model: str = CODEX_MODEL) -> list[str]:
        """Let the agent play a script to its end, and return what its model was told of each tool use."""
        packages = PACKAGES.prepare()
        with serving(script) as served:
            if self.name == "claude-code":
                command, environ = self._claude(packages, served.port)
            else:
                command, environ = self._codex(packages, served.port, model)
            ran = subprocess.run(
                [*command, *how, "go"],
                cwd=self.project,
                env={**self.environ(), **environ},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=PROGRAM_SECONDS,
                check=False,
            )
        assert (ran.returncode, DONE in ran.stdout) == (0, True), ran.stdout + ran.stderr
        return served.told

    def _claude(self, packages: Path, port: int) -> tuple[list[str], dict[str, str]]:
        servers = {"mcpServers": {"tracker": {"command": sys.executable, "args": [str(TRACKER), str(self.tracked)]}}}
        (self.base / "mcp.json").write_text(json.dumps(servers))
        how = ["--dangerously-skip-permissions", "--mcp-config", str(self.base / "mcp.json"), "--strict-mcp-config"]
        command = ["node", str(packages / CLAUDE), *how, "-p"]
        return command, {"ANTHROPIC_BASE_URL": f"http://127.0.0.1:{port}"}

    def _codex(self, packages: Path, port: int, model: str) -> tuple[list[str], dict[str, str]]:
        (self.codex_home / "config.toml").write_text(
            f"""model = "{model}"
model_provider = "stub"
[model_providers.stub]
name = "stub"
base_url = "http://127.0.0.1:{port}/v1"
wire_api = "responses"
env_key = "STUB_KEY"
[mcp_servers.tracker]
command = {json.dumps(sys.executable)}
args = {json.dumps([str(TRACKER), str(self.tracked)])}
"""
        )
        how = ["--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
        return ["node", str(packages / CODEX), "exec", *how], {}

    # --- tool uses in the agent's own form

    def shell(self, command: str) -> dict[str, Any]:
        if self.name == "claude-code":
            return {"name": "Bash", "input": {"command": command, "description": "a command"}}
        return _script(f"await tools.exec_command({json.dumps({'cmd': command})})")

    def write(self, path: str) -> dict[str, Any]:
        if self.name == "claude-code":
            return {"name": "Write", "input": {"file_path": str(self.project / path), "content": "new\n"}}
        patch = f"*** Begin Patch\n*** Add File: {path}\n+new\n*** End Patch"
        return _script(f"await tools.apply_patch({json.dumps(patch)})")

    def tracker(self, tool: str) -> dict[str, Any]:
        if self.name == "claude-code":
            return {"name": f"mcp__tracker__{tool}", "input": {"repo": "a/b"}}
        return _script(f"await tools.mcp__tracker__{tool}({json.dumps({'repo': 'a/b'})})")


def _script(expression: str) -> dict[str, Any]:
    """Return a use of Codex's `exec`, whose nested tools have hooks of their own."""
    script = f"try {{ text(JSON.stringify({expression})) }} catch (error) {{ text(String(error)) }}"
    return {"type": "custom_tool_call", "namespace": "functions", "name": "exec", "input": script}


def exec_command(**arguments: Any) -> dict[str, Any]:
    """Return a command of Codex in the form for models that it does not know."""
    return {"type": "function_call", "name": "exec_command", "arguments": json.dumps(arguments)}


def write_stdin(characters: str) -> dict[str, Any]:
    """Return what Codex writes to the command before, which still runs."""
    arguments = json.dumps({"session_id": LAST_SESSION, "chars": characters, "yield_time_ms": 2000})
    return {"type": "function_call", "name": "write_stdin", "arguments": arguments}
