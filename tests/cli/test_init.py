"""`macaw init`: the files that it writes, the secret that it keeps, and the files that it leaves alone."""

from __future__ import annotations

import json
import os
import pty
import stat
import sys
from pathlib import Path

import pytest

from producers.home.home import Home
from producers.identity.settings import read_login_settings
from tests.cli.commands import Ran, run
from tests.pages import ROOT, Reader

BROKER = "kafka-1.acme.example:9092,kafka-2.acme.example:9092"
ISSUER = "https://login.acme.example/realms/staff"
SECRET = "correct horse battery staple"
GIVEN = ("--tenant", "acme", "--broker", BROKER)
PROVIDED = (*GIVEN, "--issuer", ISSUER, "--client-id", "macaw-cli")


def init(capsys: pytest.CaptureFixture[str], *argv: str) -> Ran:
    return run(capsys, "init", *argv)


def contents(base: Path) -> dict[str, bytes]:
    return {str(p.relative_to(base)): p.read_bytes() for p in base.rglob("*") if p.is_file() and p.suffix != ".lock"}


def test_flags_write_both_files_and_show_them(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = init(capsys, *PROVIDED)

    assert ran.status == 0, ran.err
    found = Home.open(home)
    assert (found.bootstrap, found.tenant().tenant) == (BROKER, "acme")
    settings = read_login_settings(found)
    assert (settings.issuer, settings.client.client_id, settings.client.client_secret) == (ISSUER, "macaw-cli", None)
    assert str(home / "macaw-agent.yaml") in ran.out
    assert f'issuer: "{ISSUER}"' in ran.out
    assert stat.S_IMODE((home / ".macaw" / "config.json").stat().st_mode) == 0o600


def test_a_secret_is_kept_in_a_private_file_and_shown_nowhere(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = home / "given"
    given.write_text(SECRET + "\n")
    given.chmod(0o644)
    open_to_all = init(capsys, *PROVIDED, "--client-secret-file", str(given))
    assert (open_to_all.status, "chmod 600" in open_to_all.err) == (1, True)
    assert not (home / ".macaw").exists()

    given.chmod(0o600)
    ran = init(capsys, *PROVIDED, "--client-secret-file", str(given))
    kept = home / ".macaw" / "idp.secret"
    assert ran.status == 0, ran.err
    assert SECRET not in ran.out + ran.err
    assert (stat.S_IMODE(kept.stat().st_mode), kept.read_text()) == (0o600, f"{SECRET}\n")
    assert read_login_settings(Home.open(home)).client.client_secret == SECRET


@pytest.mark.parametrize(
    "more",
    [
        ("--tenant", "bank", "--broker", BROKER),
        ("--tenant", "acme", "--broker", "other:9092"),
        (*GIVEN, "--issuer", "https://evil.example", "--client-id", "x"),
    ],
    ids=["tenant", "broker", "provider"],
)
def test_nothing_is_overwritten_without_force(
    home: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...]
) -> None:
    assert init(capsys, *PROVIDED).status == 0
    before = contents(home)
    refused = init(capsys, *more)

    assert (refused.status, "--force" in refused.err) == (1, True)
    assert contents(home) == before
    assert init(capsys, *more, "--force").status == 0
    assert contents(home) != before


def test_what_processes_have_written_stays(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`macaw up` keeps its broker's kind there, and the address of the views."""
    Home.create(home, {"bootstrap": BROKER, "views": "http://127.0.0.1:1"})
    assert init(capsys, *GIVEN).status == 0

    assert json.loads((home / ".macaw" / "config.json").read_text()) == {
        "bootstrap": BROKER, "tenant": "acme", "views": "http://127.0.0.1:1",
    }  # fmt: skip
    assert not (home / "macaw-agent.yaml").exists()


def test_a_provider_in_config_json_counts_first_so_none_is_written_beside_it(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Home.create(home, {"iam_provider": "google"})
    refused = init(capsys, *PROVIDED, "--force")

    assert (refused.status, "iam_provider" in refused.err) == (1, True)
    assert not (home / "macaw-agent.yaml").exists()


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("--tenant", "acme"), "--broker is missing"),
        (("--broker", BROKER), "--tenant is missing"),
        (("--tenant", "ops", "--broker", BROKER), "tenant id"),
        (("--tenant", "acme", "--broker", "a b:1"), "HOST:PORT"),
        (("--tenant", "acme", "--broker", "a:1,"), "HOST:PORT"),
        ((*GIVEN, "--issuer", ISSUER), "--client-id is missing"),
        ((*GIVEN, "--client-id", "x"), "need --issuer"),
        ((*GIVEN, "--issuer", "http://login.acme.example", "--client-id", "x"), "https"),
        ((*GIVEN, "--issuer", ISSUER, "--client-id", "a\nclient_secret: x"), "printable"),
    ],
)
def test_a_wrong_answer_writes_nothing(
    home: Path, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], says: str
) -> None:
    ran = init(capsys, *argv)

    assert ran.status != 0
    assert says in ran.err
    assert contents(home) == {}


def test_at_a_terminal_it_asks(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty answer takes the default."""
    person, terminal = pty.openpty()
    os.write(person, f"acme\n\n{ISSUER}\nmacaw-cli\n".encode())
    with os.fdopen(terminal) as stdin, os.fdopen(person, "rb", 0):
        monkeypatch.setattr(sys, "stdin", stdin)
        ran = init(capsys)

    assert ran.status == 0, ran.err
    assert Home.open(home).bootstrap == "127.0.0.1:9092"
    assert read_login_settings(Home.open(home)).issuer == ISSUER


def test_the_page_does_what_it_says(tmp_path: Path) -> None:
    with Reader(tmp_path) as reader:
        assert reader.play(ROOT / "docs" / "setup.md") == 2
