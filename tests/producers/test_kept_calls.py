"""The folder of calls that were left: what else lies there takes no way back from anybody."""

from __future__ import annotations

import os
from pathlib import Path

from producers.client import kept_calls
from producers.client.kept_calls import Book
from producers.client.open_call import OpenCall
from producers.home.clock import LogClock
from producers.home.home import TenantHome
from producers.kafka.sent import Sent
from producers.kafka.waiting import WaitingCall
from schemas import topics
from tests.builders import keys_of

KEYS = keys_of("kept")


def call(number: int, *, ends_session: bool = False) -> WaitingCall:
    return WaitingCall(
        event_id=f"{number:032x}",
        event="ab" * 32,
        resource="tool:bank/pay",
        principal_id="bot",
        session=KEYS.kid.hex(),
        until=None,
        offset=0,
        ends_session=ends_session,
    )


def test_what_is_not_ours_in_the_folder_is_let_be(tmp_path: Path) -> None:
    """A folder that is older than any answer, and a file that somebody put beside."""
    folder = TenantHome("acme", tmp_path)
    (aside := tmp_path / kept_calls.FOLDER / "aside").mkdir(parents=True)
    (note := tmp_path / kept_calls.FOLDER / "note.txt").write_text("mine")
    (named := tmp_path / kept_calls.FOLDER / f"{7:032x}.json").mkdir()
    for path in (aside, note, named):
        os.utime(path, (1, 1))

    kept_calls.keep(folder, call(1), KEYS)

    assert kept_calls.load(folder, call(1).event_id)[0] == call(1)
    assert aside.is_dir()
    assert note.read_text() == "mine"


def test_what_the_log_keeps_no_longer_leaves(tmp_path: Path) -> None:
    """With its key."""
    folder = TenantHome("acme", tmp_path)
    kept_calls.keep(folder, call(1), KEYS)
    for path in (tmp_path / kept_calls.FOLDER).iterdir():
        at = path.stat().st_mtime - topics.RESULTS.retention_ms / 1000 - 1
        os.utime(path, (at, at))

    kept_calls.keep(folder, call(2), KEYS)

    assert {path.stem for path in (tmp_path / kept_calls.FOLDER).iterdir()} == {call(2).event_id}


class Taken(Sent):
    """A call that was taken up again, without a broker."""

    def __init__(self, kept: WaitingCall) -> None:
        self.resource = kept.resource
        self.event_id, self.event = bytes.fromhex(kept.event_id), bytes.fromhex(kept.event)
        self.answers_from = {topics.keyed_partition(KEYS.kid): 0}


def test_who_is_to_end_the_session_stays_with_a_call_that_is_written_down_again(tmp_path: Path) -> None:
    """Else nobody would, where its way back is used while other calls of the session are open."""
    folder = TenantHome("acme", tmp_path)
    kept_calls.keep(folder, call(1, ends_session=True), KEYS)
    taken_up = OpenCall(Taken(call(1)), Book(folder, KEYS, "bot"), LogClock())
    taken_up.kept = kept_calls.load(folder, call(1).event_id)[0]

    taken_up.keep(None)

    assert kept_calls.load(folder, call(1).event_id)[0].ends_session
