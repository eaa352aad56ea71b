"""`macaw engine`, and what every command says of a log whose engine is not installed here."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from macaw.installation.tenancy import publish_policies, register_agent
from processors.state.engine import data
from processors.state.engines import EngineMissingError, installed
from producers.client import Client, DeniedError
from producers.kafka.registry_view import RegistryView
from streams.local.choose import BrokerInfo
from tests.cli.commands import assert_one_sentence, run
from tests.cli.held_engines import hold
from tests.engines import STRICTER
from tests.installation import Installation
from tests.installation import installed as installation

pytestmark = pytest.mark.broker
HOST = Path(__file__).parents[1] / "streams" / "engine_host_main.py"


@pytest.fixture
def here(broker: BrokerInfo, tmp_path: Path, unique: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    with installation(broker, tmp_path, unique) as running:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("MACAW_HOME", str(tmp_path))
        register_agent(running.home, running.folder, "shopper", attributes={})
        publish_policies(
            running.home, running.folder, ['{"policy_id": "agent:shopper", "resources": ["tool:*/*"]}'], {}
        )
        yield running


def call(here: Installation, resource: str) -> str:
    """Let the agent call, and return why it got no result."""
    with (
        Client.connect(here.folder.tenant, "shopper", home=here.home) as client,
        pytest.raises(DeniedError) as told,
    ):
        client.invoke(resource, {})
    return str(told.value.reason)


def test_the_engine_of_an_installation_and_a_tenant(here: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    """The founding names this installation's own, and nothing newer is here to activate."""
    ran = run(capsys, "engine", "show")
    assert ran.status == 0
    assert all(name in ran.out and digest.hex() in ran.out for name, digest in data())
    assert f"{here.folder.tenant}: engine 2 (present) since 20" in ran.out

    told = json.loads(run(capsys, "engine", "show", "--json").out)
    assert (told["present"], told["is_installed"]) == (2, True)
    assert told["log"][0]["data"] == told["installed"][-1]["data"]

    for argv in (("plan",), ("activate", "--reason", "r"), ("activate", "--engine", "2", "--reason", "r")):
        ran = run(capsys, "engine", *argv)
        assert_one_sentence(ran, 1)
        assert "decides by engine 2 already" in ran.err
    ran = run(capsys, "engine", "activate", "--engine", "7", "--reason", "r")
    assert_one_sentence(ran, 1)
    assert "holds engine 1, 2 and not 7" in ran.err
    assert json.loads(run(capsys, "engine", "show", "--json").out)["present"] == 2


def test_an_activation_is_planned_made_replayed_and_handed_over(
    here: Installation, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From the plan to a replay by another Python, and the same log where the engine is not installed."""
    newer_ones = {**installed(), **STRICTER}
    assert call(here, "tool:bank/pay") == call(here, "tool:shop/buy") == "TOOL_UNAVAILABLE"
    with monkeypatch.context() as newer:
        hold(newer, newer_ones)
        ran = run(capsys, "engine", "plan")
        assert ran.status == 0, ran.err
        assert "engine 2 -> 3" in ran.out
        assert "changed  none none -> unicode-99 0202020202020202…" in ran.out
        assert "changed  tzdata/" in ran.out
        assert "monitor  monitor (1 keys)" in ran.out
        assert "agent    shopper (1 keys)" in ran.out
        assert "2 decide a call, and 1 of these differently (0 with another outcome)" in ran.out
        assert "tool:bank/pay: denied TOOL_UNAVAILABLE -> denied RESOURCE_NOT_ALLOWED" in ran.out
        told = json.loads(run(capsys, "engine", "plan", "--json", "--last", "1").out)
        assert (told["present"], told["engine"], told["simulated"]["calls"]) == (2, 3, 0)  # the last ends the session

        ran = run(capsys, "engine", "activate", "--reason", "stricter")
        assert ran.status == 0, ran.err
        entry = int(ran.err.split("audit entry ")[1].split()[0])
        assert call(here, "tool:bank/pay") == "RESOURCE_NOT_ALLOWED"
        ran = run(capsys, "engine", "show")
        assert "engine 2 (before)" in ran.out
        assert "engine 3 (present)" in ran.out
        assert "stricter" in ran.out
        assert run(capsys, "replay").status == 0
        assert run(capsys, "audit", "export", str(tmp_path / "export")).status == 0
        assert run(capsys, "audit", "verify", str(tmp_path / "export"), "--allow-unwitnessed").status == 0
        assert_one_sentence(run(capsys, "engine", "activate", "--reason", "again"), 1)
    _tell_without(here, capsys, tmp_path, entry)


def _tell_without(here: Installation, capsys: pytest.CaptureFixture[str], tmp_path: Path, entry: int) -> None:
    """Assert what the commands say where the later engine is not installed."""
    ran = run(capsys, "engine", "show")
    assert ran.status == 3
    assert "ENGINE_MISSING" in ran.err
    ran = run(capsys, "replay")
    assert_one_sentence(ran, 3)
    assert f"ENGINE_MISSING at entry {entry + 1}: " in ran.err
    assert "--engine 3=PYTHON" in ran.err
    ran = run(capsys, "audit", "verify", str(tmp_path / "export"), "--allow-unwitnessed")
    assert (ran.status, ran.out.partition(":")[0]) == (3, f"ENGINE_MISSING at entry {entry + 1}")
    for argv in (
        ("engine", "plan"),
        ("policy", "simulate", "--withdraw", "agent:shopper"),
        ("invoke", "tool:bank/pay", "--as", "shopper"),
    ):
        ran = run(capsys, *argv)
        assert_one_sentence(ran, 3)
        assert "ENGINE_MISSING: the tenant decides by engine 3" in ran.err, argv
    assert_one_sentence(run(capsys, "engine", "activate", "--reason", "r"), 1)
    with closing(RegistryView.of(here.home, here.folder)) as view:
        for _ in range(2):  # it stays so: no later event is passed over
            with pytest.raises(EngineMissingError):
                view.refresh()

    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nexec {sys.executable} {HOST} stricter\n", "utf-8")
    assert run(capsys, "replay", "--engine", f"3={python}").status == 2  # not a program yet
    python.chmod(0o755)
    ran = run(capsys, "replay", "--engine", f"3={python}")
    assert (ran.status, ran.err) == (0, "")
    assert "every byte the same" in ran.out


@pytest.mark.parametrize("given", ["2", "=x", "0=/bin/sh", "-1=/bin/sh", "x=/bin/sh", "2=/nowhere", "2=.", "²=/bin/sh"])
def test_the_option_names_a_number_and_a_program(capsys: pytest.CaptureFixture[str], given: str) -> None:
    """Before anything is asked of a broker."""
    ran = run(capsys, "replay", "--engine", given)

    assert_one_sentence(ran, 2)
    assert "--engine" in ran.err
