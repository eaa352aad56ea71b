"""The official conformance suite: a server passes behind the gateway all that it passes by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.local.choose import BrokerInfo
from tests.gateway.conformance import PASSED, Scenarios, compare, table, worse
from tests.gateway.node_home import PACKAGES
from tests.installation import Installation, installed
from tests.optional import skip_without_conformance

PAGE = Path(__file__).parents[2] / "docs" / "mcp.md"
SCENARIOS = 32  # of the suite's pinned version
# Recommended, not required: the Python SDK's server keeps no events to send again, and nor does the gateway.
RECOMMENDED = "server-sse-polling"


@pytest.fixture(scope="module")
def here(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    if why := PACKAGES.why_not():
        skip_without_conformance(why)
    with installed(broker, tmp_path_factory.mktemp("conformance") / "home", "mcpsuite", development=True) as found:
        yield found


@pytest.mark.broker
def test_a_server_passes_behind_the_gateway_all_that_it_passes_by_itself(here: Installation, tmp_path: Path) -> None:
    found = compare(here, tmp_path)

    alone, address, command, functions = found.values()
    assert len(alone) == SCENARIOS
    assert {scenario for scenario, checks in alone.items() if set(checks.values()) != {PASSED}} == {RECOMMENDED}
    assert worse(alone, address) == worse(alone, command) == worse(alone, functions) == []
    assert table(found) in PAGE.read_text("utf-8")


ALONE: Scenarios = {"a": {"one": "SUCCESS", "two": "WARNING"}, "b": {"three": "FAILURE"}}


@pytest.mark.parametrize(
    ("gateway", "lost"),
    [
        (ALONE, []),
        ({**ALONE, "b": {"three": "SUCCESS"}}, []),
        ({**ALONE, "a": {"one": "WARNING", "two": "WARNING"}}, ["a: one is WARNING, by itself SUCCESS"]),
        ({"a": ALONE["a"]}, ["b: three is not there, by itself FAILURE"]),
    ],
)
def test_what_is_worse_is_named(gateway: Scenarios, lost: list[str]) -> None:
    assert worse(ALONE, gateway) == lost


def test_the_table_counts_checks() -> None:
    told = table({"by itself": ALONE, "behind": {"a": {"one": "SUCCESS", "two": "SUCCESS"}, "b": {}}})

    assert "| `a` | 1 of 2 | 2 of 2 |" in told
    assert "| **all 2** | **1 of 3** | **2 of 2** |" in told
