"""What `docs/incidents.md` says to do, done by hand: the command that the monitor's message names is the way back."""

import logging
import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from macaw.cli import main
from macaw.installation.tenancy import publish_policies, register_agent
from producers.client import Client, NoAnswerError
from schemas.topics import INTAKE
from streams.local.choose import BrokerInfo
from tests.installation import Installation, installed, unanswered
from tests.streams.loop_world import turn_until
from tests.streams.test_held_partitions import BOMB_BYTES, HOUR_MS, behind_by, compressed_as_sent, send_bomb

pytestmark = pytest.mark.broker

COMMAND = re.compile(r"`macaw (intake [^`]*)…`")


@pytest.fixture
def here(broker: BrokerInfo, tmp_path: Path, unique: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    with installed(broker, tmp_path, unique) as running:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("MACAW_HOME", str(tmp_path))
        register_agent(running.home, running.folder, "shopper", attributes={})
        yield running


def told_command(caplog: pytest.LogCaptureFixture, code: str) -> list[str]:
    """Return the command that the monitor's message names, once there is such a message."""

    def messages() -> list[str]:
        return [m for m in (r.getMessage() for r in caplog.records) if code in m and COMMAND.search(m)]

    turn_until([], lambda: time.sleep(0.05) is None and messages())
    found = COMMAND.search(messages()[-1])
    assert found is not None
    return shlex.split(found[1])


def test_the_command_of_the_message_accepts_a_time(
    here: Installation, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A record ahead of the clock holds the tenant; ruled on, it and its ruling are folded, and the clock is set."""
    behind_by(monkeypatch, HOUR_MS)
    with caplog.at_level(logging.ERROR), unanswered(), pytest.raises(NoAnswerError):
        publish_policies(here.home, here.folder, ['{"policy_id": "agent:shopper", "resources": ["tool:*/*"]}'], {})
    command = told_command(caplog, "CLOCK_AHEAD")
    first = int(command[2])

    # The clock is still wrong: the ruling covers its own place too.
    assert main([*command, "a clock was wrong"]) == 0
    assert f"offsets {first} to {first + 1} are folded at that time" in capsys.readouterr().err
    behind_by(monkeypatch, 0)
    with Client.connect(here.folder.tenant, "shopper", home=here.home) as client:
        assert client.context_set("k", 1) == 1


@pytest.mark.real_broker("a topic whose settings change")
def test_the_command_of_the_message_skips_what_cannot_be_read(
    here: Installation, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """One hostile batch holds the tenant; skipped, everything behind it has its answer."""
    topic = INTAKE.of(here.folder.tenant)
    with caplog.at_level(logging.ERROR), compressed_as_sent(here.broker.bootstrap, topic):
        send_bomb(here.broker.bootstrap, topic, [BOMB_BYTES // 2] * 2)
        command = told_command(caplog, "UNREADABLE_BATCH")

    assert main([*command, "sent by an intruder"]) == 0
    assert "are skipped" in capsys.readouterr().err
    assert main(["replay", "--tenant", here.folder.tenant]) == 0
    assert "every byte the same" in capsys.readouterr().out
