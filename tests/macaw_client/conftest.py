"""One company for each file of tests, and the environment in which its programs run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streams.local.choose import BrokerInfo
from tests.macaw_client.company import Company, company


@pytest.fixture(scope="module")
def firm(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    with company(broker, tmp_path_factory.mktemp("company")) as running:
        yield running


@pytest.fixture
def inside(firm: Company, monkeypatch: pytest.MonkeyPatch) -> Company:
    """The company, as its programs find it: by the environment and the working directory."""
    monkeypatch.setenv("MACAW_HOME", str(firm.base))
    monkeypatch.chdir(firm.base)
    return firm
