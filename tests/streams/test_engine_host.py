"""One log with several engines: each part is decided by its own, here or in a process of another interpreter."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.intake.identify import Received, Ruling
from processors.proof.signing import VerifiedHeads
from processors.state.engines import Engine, Engines, installed
from processors.step import step
from schemas.events.rulings import TimeAccepted
from streams.history import engine_process
from streams.history.deciding import Commands, Decider
from streams.history.engine_host import serve, state_of
from streams.history.engine_process import HandoverError, host_command
from streams.history.engine_wire import (
    MESSAGE_BYTES_MAX,
    Kind,
    MessageError,
    Written,
    output_in,
    pack,
    pack_hello,
    pack_output,
    pack_record,
    pack_row,
    read_message,
    record_in,
    row_in,
)
from streams.history.replay import MissingEngineError, Replayed, Values, compare, places
from streams.history.state_rows import framed_rows
from tests.engines import (
    DATA_LATER,
    DATA_LATER_TOO,
    LATER,
    LATER_TOO,
    MARK,
    ONLY_LATER,
    ONLY_LATER_TOO,
    WITH_LATER,
    activation,
)
from tests.interpreters.environments import VERSIONS, NoInterpreterError, environment_of
from tests.workflow_world import Workflow
from tests.world import HOUR_MS, Office, World

HOST = str(Path(__file__).parent / "engine_host_main.py")
ALL: Engines = {**WITH_LATER, **ONLY_LATER_TOO}


def host(how: str, python: str = sys.executable) -> list[str]:
    """Return the command of a test's host."""
    return [python, HOST, how]


def spoken() -> tuple[World, int, int]:
    """Return a log with three engines, and the indexes of its two activations."""
    office = Office.opened("three engines", engines=ALL)
    world = office.world
    office.call({"n": 1})
    second = world.send(activation(), world.admin).entry.index
    office.call({"n": 2})
    tick = world.signed(activation(1), world.admin)  # refused, and folded at another time
    accepted = world.signed(
        TimeAccepted(first=world.offset, last=world.offset, now=world.now, reason="a clock"), world.admin
    )
    ruling = Ruling(b"", world.receive(*accepted, offset=world.offset + 1))
    world.fold(*tick, appended_at=world.now + HOUR_MS, ruling=ruling)
    world.fold(*accepted)
    world.fold(b"no event", [("macaw-kid", None), ("x", b"\xff")])
    third = world.send(activation(4, DATA_LATER_TOO), world.admin).entry.index
    office.call({"n": 3})
    return world, second, third


WORLD, SECOND_AT, THIRD_AT = spoken()


def replayed(engines: Engines, elsewhere: Commands | None = None, world: World = WORLD) -> Replayed:
    """Replay the log in this process, which holds some engines, with hosts for others."""
    world.given["engines"] = ALL
    tables, stored = world.fresh_tables(), {place: list[bytes | None]() for place in places()}
    heads = VerifiedHeads()
    for received in world.records:
        for output in step(tables, received, heads):
            if (output.topic, output.partition) in stored:
                stored[output.topic, output.partition].append(output.value)
    world.given["engines"] = engines
    records = iter(world.records)
    values: Any = {place: Values(rows) for place, rows in stored.items()}
    return compare(world.fresh_tables(), lambda _: next(records, None), values, elsewhere=elsewhere)


# --- where each part is decided


def test_with_all_engines_here_every_byte_is_the_same() -> None:
    told = replayed(ALL)

    assert told.difference is None
    assert told.entries == len(WORLD.records)


@pytest.mark.parametrize(
    ("here", "elsewhere"),
    [
        (installed(), {3: host("later"), 4: host("later too")}),  # the state goes from one host to the next
        (ONLY_LATER, {1: host("both"), 4: host("later too")}),  # out, back, out
        (ONLY_LATER_TOO, {1: host("both"), 3: host("later")}),
        (ONLY_LATER_TOO, {1: host("both"), 3: host("both")}),
        ({1: WITH_LATER[1], 4: LATER_TOO}, {3: host("later")}),
        ({3: LATER, 4: LATER_TOO}, {1: host_command(sys.executable)}),  # the host that is installed
    ],
    ids=["1, then 3 and 4 elsewhere", "3", "4", "4, one host for two engines", "1 and 4", "3 and 4"],
)
def test_what_is_not_here_is_decided_by_another_process(here: Engines, elsewhere: Mapping[int, list[str]]) -> None:
    """Each of them gives every byte of the log again."""
    told = replayed(here, elsewhere)

    assert told.difference is None
    assert told.entries == len(WORLD.records)


def test_a_host_that_decides_otherwise_is_found() -> None:
    """What a host answers is compared as what is decided here: engine 4 elsewhere would tell no engine 3."""
    only = {1: WITH_LATER[1], 3: Engine(3, DATA_LATER), 4: LATER_TOO}
    told = replayed(only)

    assert told.difference is not None
    assert (told.difference.topic, told.difference.position) == ("macaw.acme.audit", SECOND_AT + 1)


@pytest.mark.parametrize(
    ("here", "index", "number"),
    [(installed(), "SECOND_AT", 3), (WITH_LATER, "THIRD_AT", 4), (ONLY_LATER, None, 1)],
)
def test_an_engine_that_is_nowhere_is_named_with_its_entry(here: Engines, index: str | None, number: int) -> None:
    """The first entry that it decided; nothing is said of that one."""
    at = 0 if index is None else globals()[index] + 1
    with pytest.raises(MissingEngineError) as told:
        replayed(here)

    assert (told.value.index, told.value.engine) == (at, number)
    assert f"ENGINE_MISSING at entry {at}: " in str(told.value)
    assert f"--engine {number}=PYTHON" in str(told.value)


@pytest.mark.parametrize("version", VERSIONS)
def test_another_python_decides_its_part(version: str) -> None:
    """Two Pythons and two engines: the first engine's part is decided by another interpreter, byte for byte."""
    try:
        python = environment_of(version)
    except NoInterpreterError as error:
        pytest.skip(str(error))
    told = replayed({3: LATER, 4: LATER_TOO}, {1: host("installed", str(python))})

    assert told.difference is None
    assert told.entries == len(WORLD.records)
    both = replayed(ONLY_LATER_TOO, {1: host("installed", str(python)), 3: host("later", str(python))})
    assert both.difference is None


# --- hosts that do not do their part


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_process, "START_SECONDS", 1.0)
    monkeypatch.setattr(engine_process, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(engine_process, "END_SECONDS", 0.2)


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize(
    ("command", "says"),
    [
        (host("silent"), "did not go on in time"),
        (host("noise"), "other bytes than messages"),
        (host("huge"), "a length of 4294967295"),
        (host("gone"), "it ended (no such library)"),
        (["/nowhere/python"], "cannot start /nowhere/python: No such file or directory"),
        ([sys.executable, "-I", "-m", "streams.nothing"], "No module named streams.nothing"),
        ([sys.executable, "-c", "pass"], "it ended"),
    ],
)
def test_a_host_that_fails_ends_the_replay_in_time(command: list[str], says: str) -> None:
    """With one sentence; no process stays behind, and no pipe is waited for without end."""
    with pytest.raises(HandoverError) as told:
        replayed(installed(), {3: command})
    assert says in str(told.value)


def test_a_host_with_another_engine_says_what_it_has() -> None:
    """The wrong interpreter was named, or one with other data."""
    with pytest.raises(HandoverError, match="ENGINE_MISSING: the tenant decides by engine 3, and this installation"):
        replayed(installed(), {3: host_command(sys.executable)})


def test_a_host_inherits_no_setting_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is another version, perhaps of somebody else's making."""
    monkeypatch.setenv("MACAW_KAFKA_PASSWORD", "hunter2")
    told = "import os, sys; sys.stderr.write(' '.join(sorted(os.environ))); sys.exit(1)"
    with pytest.raises(HandoverError) as error:
        replayed(installed(), {3: [sys.executable, "-c", told]})
    assert "MACAW" not in str(error.value)


def test_a_host_ends_with_its_replay() -> None:
    """Also where the replay ends in the middle of its part."""
    world = WORLD
    world.given["engines"] = installed()
    with Decider(world.fresh_tables(), {3: host("later")}) as decider:
        for received in world.records[: SECOND_AT + 2]:
            decider.fold(received)
        assert decider._host is not None
        child = decider._host._child
        assert child.poll() is None
    assert child.poll() == 0


# --- the messages


def talk(questions: bytes, engines: Engines | None = None) -> list[tuple[Kind, bytes]]:
    """Return what a host answers to some bytes."""
    answers = io.BytesIO()
    serve(io.BytesIO(questions), answers, engines)
    answers.seek(0)
    found = []
    while (message := read_message(answers.read)) is not None:
        found.append((message.kind, message.body))
    return found


def begun(world: World, engine: int = 3) -> bytes:
    """Return the messages that hand over a world's present state."""
    return pack_hello(world.tables, engine, DATA_LATER) + b"".join(state_of(world.tables))


def test_the_state_comes_back_as_it_went() -> None:
    """With every table that a busy tenant has."""
    world = Workflow.opened("handed over", engines=ALL)
    world.require("boss", approval_criteria="role:manager", timeout=600)
    world.pay()
    world.send(activation(), world.admin)
    told = talk(begun(world) + pack(Kind.STATE), WITH_LATER)

    assert told[0][0] is Kind.READY
    assert [row_in(body) for kind, body in told[1:-1] if kind is Kind.ROW] == list(framed_rows(world.tables))
    assert told[-1][0] is Kind.TAIL
    assert len({row_in(body)[0].split(b"/")[0] for _, body in told[1:-1]}) > 9


@pytest.mark.parametrize(
    ("questions", "says"),
    [
        (b"", "the first message is not HELLO"),
        (b"GET / HTTP/1.1\r\n\r\n", "other bytes than messages"),
        (pack(Kind.STATE), "the first message is not HELLO"),
        (pack(Kind.HELLO, b"{"), "is not JSON"),
        (pack(Kind.HELLO, b"[]"), "is not a JSON object"),
        (pack(Kind.HELLO, b'{"format":"macaw-engine/v9"}'), "was asked for macaw-engine/v9"),
        (pack(Kind.HELLO, b'{"format":"macaw-engine/v1"}'), "KeyError"),
        (pack(Kind.HELLO, b"[" * 100_000), "a message HELLO is not JSON"),
        (b"\0\0\0\5\1abc", "ended inside a message"),
        (b"\0\0\0\0", "a length of 0"),
        (b"\0\0\0\1\x63", "kind 99"),
    ],
)
def test_a_host_refuses_other_bytes(questions: bytes, says: str) -> None:
    """In one FAILED, whatever comes."""
    [(kind, body)] = talk(questions)

    assert kind is Kind.FAILED
    assert says in body.decode()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (pack(Kind.RECORD, b""), "too short"),
        (pack(Kind.RECORD, pack_record(WORLD.records[0])[5:] + b"x"), "goes on"),
        (pack(Kind.HELLO, b"{}"), "want RECORD or STATE"),
    ],
)
def test_a_host_refuses_other_questions(more: bytes, says: str) -> None:
    world = World.founded("asked", engines=WITH_LATER)
    world.send(activation(), world.admin)
    kind, body = talk(begun(world) + more, WITH_LATER)[-1]

    assert kind is Kind.FAILED
    assert says in body.decode()


@pytest.mark.parametrize(
    "rows", [pack_row(b"nothing/x", b"x"), pack_row(b"tenant/-", b"\0\0\0\0\1x"), pack(Kind.ROW, b"\xff\xff\xff\xff")]
)
def test_a_host_refuses_a_state_that_it_cannot_read(rows: bytes) -> None:
    world = World.founded("unread", engines=WITH_LATER)
    world.send(activation(), world.admin)
    first = pack_hello(world.tables, 3, DATA_LATER) + rows
    tail = b"".join(state_of(world.fresh_tables()))

    assert [kind for kind, _ in talk(first + tail, WITH_LATER)] == [Kind.FAILED]


def test_a_message_is_bounded_on_both_sides() -> None:
    """10 GB that are claimed are not waited for, and nothing larger is sent."""
    with pytest.raises(MessageError, match="too long"):
        pack(Kind.ROW, bytes(MESSAGE_BYTES_MAX))
    with pytest.raises(MessageError, match="a length of"):
        read_message(io.BytesIO((MESSAGE_BYTES_MAX + 1).to_bytes(4, "big")).read)


HEADERS = st.lists(st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=5)), max_size=3)
PLAIN = st.builds(
    Received,
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**63),
    st.integers(-1, 2**62),
    st.none() | st.binary(max_size=20),
    HEADERS,
)


@given(PLAIN, st.none() | st.tuples(st.binary(max_size=32), PLAIN))
def test_a_record_comes_as_it_went(received: Received, ruling: tuple[bytes, Received] | None) -> None:
    """Null values, headers that stand twice, and rulings."""
    received.ruling = None if ruling is None else Ruling(*ruling)

    assert record_in(pack_record(received)[5:]) == received


@given(st.text("abc", max_size=9), st.integers(0, 9), st.none() | st.binary(max_size=20))
def test_an_output_comes_as_it_went(topic: str, partition: int, value: bytes | None) -> None:
    written = Written(topic, partition, value)

    assert output_in(pack_output(written)[5:]) == written


def test_the_later_engine_s_mark_is_where_it_belongs() -> None:
    """Or the tests above would show nothing."""
    tables = WORLD.fresh_tables()
    tables.engines = ALL
    marked = [n for n, r in enumerate(WORLD.records) if any(MARK.encode() in (o.value or b"") for o in step(
        tables, r, VerifiedHeads()))]  # fmt: skip
    assert marked == [SECOND_AT + 1]
