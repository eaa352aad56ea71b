"""One provider for a module, and a fresh cache for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.streams.bridge.cached import World, world_of
from tests.streams.bridge.provider import Provider, serving


@pytest.fixture(scope="module")
def server() -> Iterator[Provider]:
    with serving() as found:
        yield found


@pytest.fixture
def world(server: Provider) -> Iterator[World]:
    with world_of(server) as made:
        yield made
