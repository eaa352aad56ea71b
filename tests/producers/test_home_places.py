"""The places of an installation, and the members of its configuration: its own are strict, others are kept unread."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from producers.home.home import Home, HomeError, NoHomeError


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Begin in an empty folder, with an empty home directory."""
    here = tmp_path / "here"
    here.mkdir()
    for name in ("MACAW_HOME", "MACAW_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.chdir(here)
    return here


def write(base: Path, **members: Any) -> Path:
    file = base / ".macaw" / "config.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(members))
    return file


def test_the_places_in_their_order(tmp_path: Path, nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that starts a tool's server often passes on nothing but HOME and PATH."""
    with pytest.raises(NoHomeError, match="macaw up"):
        Home.find()
    for base in (tmp_path / "user", nowhere, tmp_path / "config", tmp_path / "named"):
        write(base, bootstrap="x:1")
        if base == tmp_path / "config":
            monkeypatch.setenv("MACAW_CONFIG_DIR", str(base / ".macaw"))
        if base == tmp_path / "named":
            monkeypatch.setenv("MACAW_HOME", str(base))
        assert Home.find().path == base / ".macaw"


def test_a_place_that_is_named_is_the_only_one(tmp_path: Path, nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another installation would be another log."""
    write(nowhere, bootstrap="x:1")
    for name in ("MACAW_HOME", "MACAW_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "away"))
        with pytest.raises(NoHomeError, match="away"):
            Home.find()
        monkeypatch.delenv(name)


def test_the_configuration_folder_may_be_named_by_the_one_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "c", bootstrap="x:1")
    monkeypatch.setenv("MACAW_CONFIG_DIR", str(tmp_path / "c"))
    assert Home.find().path == tmp_path / "c" / ".macaw"

    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text("{}")
    monkeypatch.setenv("MACAW_CONFIG_DIR", str(tmp_path / "other"))
    with pytest.raises(HomeError, match=r"must be called \.macaw; rename it"):
        Home.find()


def test_members_of_other_programs_load_are_kept_and_never_shown(tmp_path: Path) -> None:
    """The original's file has nested members and a key of its hosted service."""
    before = {
        "iam_provider": "keycloak",
        "iam_config": {"domain": "auth.company.com", "client_id": "macaw-service", "client_secret": "hunter2"},
        "api_key": "wk_hunter2",
        "workspace": {"id": 7, "features": ["a"]},
        "telemetry": False,
    }
    write(tmp_path, **before)
    home = Home.open(tmp_path)

    assert home.config == {"iam_provider": "keycloak"}
    assert "hunter2" not in repr(home)
    with pytest.raises(HomeError, match="MACAW_BOOTSTRAP_SERVERS"):
        _ = home.bootstrap
    with pytest.raises(HomeError, match="names no tenant: run `macaw tenant create"):
        home.tenant()
    Home.create(tmp_path, {"bootstrap": "x:1"})
    assert json.loads((tmp_path / ".macaw" / "config.json").read_text()) == {**before, "bootstrap": "x:1"}


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"bootstrap": ["x:1"]}, "`bootstrap` must be a string, got list"),
        ({"tenant": 7}, "`tenant` must be a string"),
        ({"kafak": {"security.protocol": "SSL"}}, "did you mean `kafka`"),
        ({"Keys": {}}, "did you mean `keys`"),
    ],
)
def test_a_fault_in_a_member_of_ours_is_an_error(tmp_path: Path, members: dict[str, object], told: str) -> None:
    """A misspelt section would be passed over, and the connection be in the clear."""
    write(tmp_path, **members)

    with pytest.raises(HomeError, match=told):
        Home.open(tmp_path)


def test_a_list_is_not_a_configuration(tmp_path: Path) -> None:
    write(tmp_path).write_text("[]")

    with pytest.raises(HomeError, match="must be a JSON object"):
        Home.open(tmp_path)
