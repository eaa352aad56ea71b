"""`macaw up` with Apache Kafka, as somebody types it: it stays with its broker, and ends while the broker starts."""

import os
from pathlib import Path

import pytest

from producers.home.home import Home
from streams.local.jars import choose_cache, why_no_kafka
from tests.cli.test_by_hand import PAYER, UP, Terminal, terminal, until_lock_is_free
from tests.waiting import wait_until

__all__ = ["terminal"]

needs_java = pytest.mark.skipif(
    why_no_kafka(choose_cache(os.environ)) is not None, reason="needs Java 17 and either Maven or the jars"
)


@needs_java
@pytest.mark.broker
def test_up_takes_apache_kafka_and_stays_with_it(terminal: Terminal, tmp_path: Path) -> None:
    """The log outlives a kill of everything, and no other broker ever takes its place."""
    with terminal.serving(["up"], "Ctrl-C stops everything") as up:
        up.await_line("broker: Apache Kafka")
        terminal.run("tenant", "create", "acme")
        terminal.run("policy", "publish", PAYER)
        before = Home.open(terminal.folder).bootstrap
        up.process.kill()
        up.process.wait()
    until_lock_is_free(terminal, "kafka")
    assert "the logs of acme are on Apache Kafka" in terminal.run(*UP, status=1)
    terminal.changed = {"PATH": str(tmp_path), "MACAW_KAFKA_LIBS": str(tmp_path / "none")}
    assert "the log of this installation is on Apache Kafka" in terminal.run("up", status=1)
    terminal.changed = {}
    with terminal.serving(["up"], "Ctrl-C stops everything") as up:
        assert Home.open(terminal.folder).bootstrap == before
        assert "role:payer" in terminal.run("policy", "list")
        assert "every byte the same" in terminal.run("replay")
        assert up.interrupt() == 130


@needs_java
@pytest.mark.broker
def test_ctrl_c_ends_up_while_its_broker_starts(terminal: Terminal) -> None:
    """Maven and Kafka take their time, and the user need not wait for them."""
    settings = terminal.folder / ".macaw" / "broker" / "server.properties"
    with terminal.serving(["up"], "Apache Kafka") as up:
        wait_until(settings.exists, "the broker's settings", pause=0.05)
        assert up.interrupt() == 130
        up.await_line("stopped before the broker was there")
    until_lock_is_free(terminal, "kafka")
    assert not (terminal.folder / ".macaw" / "config.json").exists()
