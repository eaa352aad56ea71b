"""What a caller has at an upstream server goes with its own requests, and is seen nowhere else."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp import Client

from macaw.cli import main
from macaw.gateway.credentials import CredentialError, Credentials, header_of
from macaw.gateway.serving import Served
from macaw.gateway.transports import ServerAddress
from producers.home.home import Home
from streams.local.choose import BrokerInfo
from tests.gateway.places import allow, served_to
from tests.gateway.whose import digest, whose_server
from tests.installation import Installation, installed
from tests.streams.loop_oracle import read_topic

SECRETS = {"ann": "tok-of-ann-5f1c", "bob": "tok-of-bob-77aa"}
pytestmark = [pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")]


@pytest.fixture
def credentials(tmp_path: Path) -> Credentials:
    folder = Home.create(tmp_path / "home", {"bootstrap": "127.0.0.1:1", "deployment": "test"}).tenant("acme")
    folder.path.mkdir(parents=True)
    return Credentials(folder, "files")


def test_a_credential_is_a_private_file_and_names_no_secret(credentials: Credentials) -> None:
    credentials.store("user:ann@example.com/a b", f"Authorization: Bearer {SECRETS['ann']}")
    path = credentials.path("user:ann@example.com/a b")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent == credentials.tenant.path / "mcp" / "files.credentials"
    assert credentials.header("user:ann@example.com/a b") == {"Authorization": f"Bearer {SECRETS['ann']}"}
    with pytest.raises(CredentialError, match="has no credential"):
        credentials.header("user:bob")
    path.chmod(0o644)
    with pytest.raises(CredentialError) as told:
        credentials.header("user:ann@example.com/a b")
    assert SECRETS["ann"] not in str(told.value)


@settings(deadline=None)
@given(st.text(max_size=40))
def test_only_a_header_is_a_credential(line: str) -> None:
    with suppress(CredentialError):
        [(name, value)] = header_of(line).items()
        assert not {"\n", "\r", "\0"} & set(name + value)
        assert line.startswith(f"{name}:")


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with whose_server() as url:
        yield url


@pytest.fixture(scope="module")
def here(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(broker, tmp_path_factory.mktemp("credentials") / "home", "mcpcreds", development=True) as found:
        for who in ("ann", "bob", "eve"):
            allow(found, {"policy_id": f"service:{who}", "resources": ["tool:whose/*"]})
        yield found


@pytest.mark.broker
def test_each_caller_comes_with_its_own_credential_which_stands_nowhere(
    here: Installation,
    upstream: str,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("MACAW_HOME", str(here.home.path.parent))
    for who, secret in SECRETS.items():
        Credentials(here.folder, "whose").store(who, f"Authorization: Bearer {secret}")
    what = Served(
        name="whose", server=ServerAddress(upstream), tenant=here.folder.tenant, home=here.home, personal=True
    )

    async def asked(who: str) -> str:
        async with served_to(what, who) as place, Client(place.front.server(), mode="legacy") as client:
            return str((await client.call_tool("whose", {})).content[0].text)

    for who, secret in SECRETS.items():
        assert asyncio.run(asked(who)) == digest(f"Bearer {secret}")
    assert "has no credential" in asyncio.run(asked("eve"))
    assert main(["mcp", "credential", "whose", "bob", "--remove", "--tenant", here.folder.tenant]) == 0
    assert "has no credential" in asyncio.run(asked("bob"))
    seen = caplog.text + capsys.readouterr().out + json.dumps(_log_of(here))
    assert not [secret for secret in SECRETS.values() if secret in seen]


def _log_of(here: Installation) -> list[str]:
    """Return the records of intake as text; the results are sealed."""

    class _Place:
        broker, unique = here.broker, here.folder.tenant

    return [str(one.value()) for one in read_topic(_Place, f"macaw.{here.folder.tenant}.intake", 0)]  # type: ignore[arg-type]
