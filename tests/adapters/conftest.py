"""What tests of the models' clients share."""

from collections.abc import Iterator

import pytest

from tests.frameworks.model_stub import Stub, model_server


@pytest.fixture(scope="module")
def stub() -> Iterator[Stub]:
    """A local server in the place of the providers."""
    with pytest.MonkeyPatch.context() as environment, model_server() as running:
        environment.setenv("NO_PROXY", "127.0.0.1")
        yield running
