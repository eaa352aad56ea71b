"""The original's published example programs, unchanged, each in processes of its own, as far as they need no network.

They are not part of this repository: MACAW_PUBLISHED_EXAMPLES names a folder with a checkout of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from macaw.installation.tenancy import publish_policies
from macaw_client import MACAWClient
from streams.local.choose import BrokerInfo
from tests.macaw_client import company
from tests.macaw_client.openai_stub import OpenAIStub
from tests.optional import skip_without
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.broker

EXAMPLES = "MACAW_PUBLISHED_EXAMPLES"
WATCHERS: list[MACAWClient] = []  # one that is registered while the tests run
CALCULATOR = "mcp/securemcp_calculator.py"
# A program, the program that runs beside it, and lines that it must print.
ALONE = {
    "openai/openai_1a_dropin_simple.py": ["Correctly blocked: Access denied", "Example complete!"],
    "openai/openai_1b_multiuser_bind.py": ["CORRECTLY BLOCKED by policy", "Example complete!"],
    "openai/openai_1b_multiuser_bind_streaming.py": ["Chunks received: ", "CORRECTLY BLOCKED by policy"],
    "openai/openai_1c_a2a_invoke.py": ["Correctly blocked: Access denied", "Example complete!"],
    "openai/openai_1d_invocation_patterns.py": ["PASS CORRECTLY BLOCKED by policy", "Demo complete!"],
    "../demos/policy-controls/2_with_macaw.py": ["[RESPONSE] "],
    "../demos/tutorial-1/app.py": ["[PASS] Response received (GPT-4 allowed for carol)", "[PASS] Correctly blocked"],
    "mcp/3a_native_mcp_client.py": ["add(a=10, b=5) = 15", "contains no MACAW code at all"],
}
BESIDE = {
    "mcp/1a_simple_invocation.py": (CALCULATOR, ["add(a=10, b=5) = {'result': 15}", "Done!"]),
    "mcp/1b_discovery_and_resources.py": (CALCULATOR, ["- batch_calculate", "History count: 2", "Done!"]),
    "mcp/1c_logging_client.py": (CALCULATOR, ["'history_count': 4"]),
    "mcp/1d_progress_client.py": (CALCULATOR, ["Batch result: 5 calculations"]),
    "mcp/1e_sampling_client.py": ("mcp/1e_sampling_server.py", ["'analysis':", "Done!"]),
    "mcp/1f_elicitation_client.py": ("mcp/1f_elicitation_server.py", ["'status': 'created'"]),
    "mcp/1g_roots_client.py": ("mcp/1g_roots_server.py", ["'entries': ['allowed.txt']"]),
}
# A program that waits for a person, that person's program, and the lines that both must print.
APPROVED = {
    "attestations/1a_trade_alice.py": ("attestations/1a_trade_bob.py", "APPROVED - ", "TRADE EXECUTED SUCCESSFULLY!"),
}
BOTH = ["gpt-3.5-turbo", "gpt-4"]
LIMITS = {"alice": (BOTH[:1], 500), "bob": (BOTH, 2000), "carol": (BOTH, 4000)}


class PublishedIdP(company.NanoIdP):
    """The provider with the persons and passwords that the programs log in with, each known by a short name."""

    def _users(self) -> dict[str, object]:
        people = {
            "alice": ("Alice123!", ("viewer",)),
            "bob": ("Bob@123!", ("manager", "admin")),
            "carol": ("Carol123!", ("viewer",)),
        }
        for name, (password, roles) in people.items():
            self.people[name] = company.Person(
                name, f"{name}@fintech.example", "FinTech Corp", "Analytics", "Reporting", roles, password=password
            )
        made = super()._users()
        for name, user in made["users"].items():  # type: ignore[attr-defined]
            user["attributes"]["email"] = name
        return made


@pytest.fixture(scope="module")
def examples() -> Path:
    named = os.environ.get(EXAMPLES)
    if named is None or not Path(named, "examples").is_dir():
        skip_without("the original's example programs", f"a checkout, with {EXAMPLES} naming it")
    return Path(named, "examples").absolute()


@pytest.fixture(scope="module")
def environ(examples: Path, broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An installation in the home directory, where a program finds it that a host of MCP servers starts."""
    base = tmp_path_factory.mktemp("published")
    limits = [
        {
            "policy_id": f"user:{name}",
            "resources": ["**"],
            "constraints": {"parameters": {"tool:*/generate": {"model": models, "max_tokens": {"max": tokens}}}},
        }
        for name, (models, tokens) in LIMITS.items()
    ]
    granted = [{"policy_id": f"role:{role}", "resources": ["**"]} for role in ("workspace", "manager")]
    with company.company(broker, base, PublishedIdP, roles=("workspace",)) as firm, OpenAIStub() as model:
        here = firm.office.here
        publish_policies(here.home, here.folder, [json.dumps(one) for one in [*granted, *limits]], {})
        watcher = MACAWClient(app_name="watcher", home=here.home, tenant=here.folder.tenant)
        watcher.register()
        WATCHERS.append(watcher)
        yield {
            **os.environ,
            "HOME": str(base),
            "MACAW_HOME": str(base),
            "OPENAI_BASE_URL": model.url,
            "OPENAI_API_KEY": "sk-of-the-test",
            "NO_PROXY": "127.0.0.1",
            "PYTHONUNBUFFERED": "1",
        }
        WATCHERS.remove(watcher)
        watcher.unregister()


def servers() -> set[str]:
    """Return the ids of the programs that offer tools now."""
    return {row["agent_id"] for row in WATCHERS[-1].list_agents("app") if "/tool." not in row["agent_id"]}


def await_server(before: set[str]) -> None:
    """Wait until there is a server that was not there before."""
    wait_until(lambda: servers() - before, "a new server", pause=0.2)


def start(environ: dict[str, str], program: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(program)],
        env=environ,
        cwd=program.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(program: subprocess.Popen[str], told: list[str]) -> None:
    out, err = program.communicate("Ada\n1\ny\n", timeout=PATIENCE_SECONDS)

    assert program.returncode == 0, out + err
    assert [line for line in told if line not in out] == [], out + err


@pytest.mark.parametrize("name", ALONE)
def test_a_program_that_runs_alone(environ: dict[str, str], examples: Path, name: str) -> None:
    ended(start(environ, examples / name), ALONE[name])


@pytest.mark.parametrize("name", BESIDE)
def test_a_program_that_finds_a_server(environ: dict[str, str], examples: Path, name: str) -> None:
    """The server is ended by a signal, without a word: it never unregisters."""
    server_name, told = BESIDE[name]
    before = servers()
    server = start(environ, examples / server_name)
    try:
        await_server(before)
        ended(start(environ, examples / name), told)
    finally:
        server.kill()
        server.communicate(timeout=PATIENCE_SECONDS)


@pytest.mark.parametrize("name", APPROVED)
def test_a_program_that_waits_for_a_person(environ: dict[str, str], examples: Path, name: str) -> None:
    person, approved, told = APPROVED[name]
    before = servers()
    waiting = start(environ, examples / name)
    await_server(before)
    for _ in range(10):  # the person looks once, and the call may not be there yet
        answering = start(environ, examples / person)
        out, err = answering.communicate("y\ny\n", timeout=PATIENCE_SECONDS)
        if "o pending" not in out:
            break
    assert approved in out, out + err
    ended(waiting, [told])
