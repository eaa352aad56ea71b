"""Each file here runs where its framework is installed: `make test-frameworks` makes an environment for each."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from macaw.adapters.gate import Gate
from producers.agent.agent import Agent
from streams.local.choose import BrokerInfo
from tests.adapters.gates import shop
from tests.pages import ROOT, blocks_of

MODULES = {"test_langchain.py": "langchain", "test_openai_agents.py": "agents", "test_pydantic_ai.py": "pydantic_ai"}
collect_ignore = [name for name, module in MODULES.items() if find_spec(module) is None]


@pytest.fixture(scope="module")
def gate(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """A gate of the program `shop`, which may refund 100 at most, and never call `secret`."""
    with (
        shop(broker, tmp_path_factory.mktemp("home")) as here,
        Agent.connect(here.folder.tenant, "shop", home=here.home) as agent,
    ):
        yield Gate(agent)


def block_of(page_mark: str) -> str:
    """Return the code of docs/adapters.md that a file of tests here runs."""
    (block,) = (one for one in blocks_of((ROOT / "docs" / "adapters.md").read_text("utf-8")) if page_mark in one.mark)
    return block.text
