"""The options of the endpoint for logouts: given to the bridge, or by config.json to `macaw up`."""

from __future__ import annotations

import pytest

from macaw.cli.up import logout_options
from streams.address import AddressError
from streams.bridge.logout_serving import LogoutDoor
from tests.cli.commands import run


def test_up_starts_the_endpoint_if_the_configuration_names_a_port() -> None:
    assert logout_options({"bootstrap": "b", "logout_url": "https://logout.acme.example"}) == []
    named = {"logout_port": "8600", "logout_host": "0.0.0.0", "logout_url": "https://logout.acme.example"}
    assert logout_options(named) == ["--logout-port=8600", "--host=0.0.0.0", "--url=https://logout.acme.example"]


@pytest.mark.parametrize("option", [("--url", "https://logout.acme.example"), ("--host", "0.0.0.0")])
def test_an_address_without_a_port_is_refused(option: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Else its operator would believe that logouts are heard."""
    refused = run(capsys, "bridge", "run", *option)

    assert refused.status == 2
    assert "--logout-port" in refused.err


@pytest.mark.parametrize("url", [None, "http://logout.acme.example", "https://logout.acme.example/path"])
def test_no_token_travels_in_the_clear_beyond_loopback(url: str | None) -> None:
    with pytest.raises(AddressError):
        LogoutDoor("0.0.0.0", 0, url)
