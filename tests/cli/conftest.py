"""Installations for commands that must not reach a broker."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from macaw.installation.locking import update_config
from tests.plain_keys import PLAIN_KEYS

GENESIS = bytes(range(32))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that the commands take for the place of an installation."""
    monkeypatch.setenv("MACAW_HOME", str(tmp_path))
    monkeypatch.delenv("MACAW_BOOTSTRAP_SERVERS", raising=False)
    monkeypatch.delenv("MACAW_DEBUG", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def known(home: Path) -> Iterator[Path]:
    """An installation with one tenant, whose broker listens and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        update_config(home, {"bootstrap": f"127.0.0.1:{listening.getsockname()[1]}", "tenant": "acme"})
        folder = home / ".macaw" / "tenants" / "acme"
        for name in ("root", "admin", "monitor", "enrol"):
            PLAIN_KEYS.create(folder / f"{name}.key", "agent")
        PLAIN_KEYS.create(folder / "agents" / "shopper.key", "agent")
        (folder / "genesis").write_text(GENESIS.hex())
        (folder / "views.token").write_text("a-token-of-the-views")
        yield home
