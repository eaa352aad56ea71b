"""Each file here runs where its framework is installed: `make test-frameworks` makes an environment for each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import pytest

from macaw.adapters.gate import Gate
from producers.agent.agent import Agent
from producers.client.open_call import OpenCall
from producers.kafka.outcomes import CallError, result_of
from streams.local.choose import BrokerInfo
from tests.adapters.gates import shop
from tests.frameworks.model_scenarios import Watched
from tests.frameworks.model_stub import Stub, model_server
from tests.installation import Installation
from tests.pages import ROOT, blocks_of
from tests.waiting import PATIENCE_SECONDS

MODULES = {
    "test_anthropic.py": "anthropic",
    "test_langchain.py": "langchain",
    "test_openai.py": "openai",
    "test_openai_agents.py": "agents",
    "test_pydantic_ai.py": "pydantic_ai",
}
# The gate has the SDK of OpenAI for other tests, and no time for these: `tests/adapters` has the parts of it.
collect_ignore = [
    name
    for name, module in MODULES.items()
    if find_spec(module) is None or (module == "openai" and "MACAW_FRAMEWORK" not in os.environ)
]


class WatchedGate(Gate):
    """A gate that keeps its calls, so that a test reads what the log has of them."""

    def __init__(self, agent: Agent) -> None:
        super().__init__(agent)
        self.asked: list[OpenCall] = []

    @contextmanager
    def _asked(self, *how: Any) -> Iterator[Any]:
        with super()._asked(*how) as (call, ticket):
            self.asked.append(call)
            yield call, ticket

    def outcomes(self) -> list[Any]:
        """Return the result of each call since the last look, or its CallError, as the log has it."""
        found: list[Any] = []
        for call in self.asked:
            try:
                found.append(result_of(call.sent.answer.result(PATIENCE_SECONDS)))
            except CallError as exc:
                found.append(exc)
        self.asked.clear()
        return found


@pytest.fixture(scope="module")
def here(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A tenant with the program `shop`, which may refund 100 at most, and never call `secret`."""
    with shop(broker, tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture(scope="module")
def agent(here: Installation) -> Iterator[Agent]:
    with Agent.connect(here.folder.tenant, "shop", home=here.home) as connected:
        yield connected


@pytest.fixture(scope="module")
def gate(agent: Agent) -> WatchedGate:
    """A gate of the program `shop`: it may refund 100 at most, never call `secret`, and ask a treasurer for `wire`."""
    return WatchedGate(agent)


@pytest.fixture(scope="module")
def watched(agent: Agent) -> Watched:
    """A gate that keeps its calls."""
    return Watched(agent)


@pytest.fixture(scope="module")
def stub() -> Iterator[Stub]:
    """A local server in the place of the providers."""
    with pytest.MonkeyPatch.context() as environment, model_server() as running:
        environment.setenv("NO_PROXY", "127.0.0.1")
        yield running


def block_of(page_mark: str) -> str:
    """Return the code of docs/adapters.md that a file of tests here runs."""
    (block,) = (one for one in blocks_of((ROOT / "docs" / "adapters.md").read_text("utf-8")) if page_mark in one.mark)
    return block.text
