"""A broker that stays up compiles a second time; one of a test or a demo, which is gone in a minute, does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from macaw.installation.broker_choice import start_broker
from streams.local.choose import BrokerKind, KafkaBroker, choose_broker
from streams.local.jars import choose_cache, why_no_kafka
from streams.local.kafka import FIRST_COMPILER
from streams.local.probe import find_free_port

pytestmark = pytest.mark.skipif(
    why_no_kafka(choose_cache(os.environ)) is not None, reason="needs Java 17 and either Maven or the jars"
)


def command(folder: Path, *, stays_up: bool) -> list[str]:
    broker = KafkaBroker(folder, stays_up=stays_up)
    folder.mkdir()
    broker._check()
    return [part for part in broker._command(find_free_port()) if not part.startswith("-XX:SharedArchiveFile=")]


def test_the_second_compiler_is_all_that_differs(tmp_path: Path) -> None:
    short, long = (command(tmp_path / name, stays_up=name == "long") for name in ("short", "long"))

    assert FIRST_COMPILER in short
    assert FIRST_COMPILER not in long
    assert [part for part in short if part != FIRST_COMPILER] == long


def running_with(folder: Path) -> list[str]:
    """Return the command lines of the brokers whose data is in a folder."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                if process.joinpath("cwd").readlink().is_relative_to(folder):
                    found.append(process.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return [line for line in found if " kafka.Kafka " in line]


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="needs /proc")
def test_macaw_up_starts_one_that_stays_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And who chooses a broker for anything else gets the quick start."""
    monkeypatch.delenv("MACAW_BOOTSTRAP_SERVERS", raising=False)
    with start_broker(tmp_path / "up", BrokerKind.KAFKA, discard=False, say=lambda _: None):
        [line] = running_with(tmp_path / "up")
        assert FIRST_COMPILER not in line
    with choose_broker(tmp_path / "test", prefer="kafka", environ=os.environ):
        [line] = running_with(tmp_path / "test")
        assert FIRST_COMPILER in line
