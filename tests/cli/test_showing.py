"""What agents wrote, shown to people: whatever it is, it cannot drive a terminal or forge a line."""

import io
import json
import logging
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from macaw.cli.terminal.output import PlainFormatter, complain, plain, plain_json, show, show_table
from macaw.cli.terminal.rendering import Renderer, time_of
from processors.text.characters import BLANK, INVISIBLE, is_plain_text
from processors.text.ranges import characters, union
from schemas import codec
from schemas.records import Decision, Event, Header, InvocationRequested, PolicyPublished

GENESIS = bytes(range(32))
# Clear the screen, retitle the window, forge a line, hide the rest, turn the text round, and a C1 control.
HOSTILE = (
    "tool:x/\x1b[2J\x1b]0;owned\x07\r\nallowed\x1b[8m\u202eevil\x9b31m\x00\u200bbo\ufe0fb\u3164\u2800\u034f\U000e0100"
)


@dataclass
class Record:
    """A record as a consumer hands it over."""

    stored: bytes | None
    stored_key: bytes | None = None
    stored_headers: tuple[tuple[str, bytes], ...] = ()

    def topic(self) -> str:
        return "macaw.acme.intake"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 7

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_795_322_252_123

    def key(self) -> bytes | None:
        return self.stored_key

    def value(self) -> bytes | None:
        return self.stored

    def headers(self) -> tuple[tuple[str, bytes], ...]:
        return self.stored_headers


def hostile_event(text: str = HOSTILE) -> Event:
    header = Header(event_id=bytes(16), principal_id=text, seq=1, issued_at=1, salt=bytes(16))
    return Event(
        header=header,
        body=InvocationRequested(resource=text, parameters=json.dumps({"k": text}), intents=(), prompts=()),
    )


def hostile_records() -> list[Record]:
    decision = Decision(
        origin=HOSTILE, audit_index=1, event=bytes(32), event_id=bytes(16), session_id=bytes(32), principal_id=HOSTILE,
        resource=HOSTILE, outcome=HOSTILE, reason=HOSTILE, detail=HOSTILE, decided_at=1, policies=(), changed=(),
    )  # fmt: skip
    header = Header(event_id=bytes(16), principal_id="admin", seq=1, issued_at=1, salt=bytes(16))
    document = json.dumps({"policy_id": HOSTILE})
    policies = Event(header=header, body=PolicyPublished(documents=(document, "no json", "[]"), previous=()))
    return [
        Record(codec.frame(hostile_event())),
        Record(codec.frame(decision), HOSTILE.encode()),
        Record(codec.frame(policies)),
        Record(None, HOSTILE.encode()),
        Record(None, b"\xff/\xff"),
        Record(b"\x1b[2J"),
        Record(codec.frame(hostile_event()), None, ((HOSTILE, b"\x1b"),)),
    ]


@pytest.mark.parametrize("record", hostile_records())
def test_what_an_agent_wrote_cannot_drive_the_terminal(record: Record, capsys: pytest.CaptureFixture[str]) -> None:
    renderer = Renderer("acme", GENESIS)
    show(renderer.line(record))
    print(plain_json(renderer.json(record)))
    complain(renderer.line(record))
    show_table(("A", "B"), [(HOSTILE, renderer.line(record)), ("[bold red]markup[/]", "")])

    out, err = capsys.readouterr()

    assert all(map(is_plain_text, (out + err).split("\n")))
    # One line for each record: nobody forges a second one.
    assert out.count("\n") == 2 + 3
    assert err.count("\n") == 1
    assert "[bold red]markup[/]" in out


def test_log_lines_cannot_drive_the_terminal() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(PlainFormatter("%(message)s"))
    log = logging.getLogger("tests.hostile")
    log.addHandler(handler)

    log.warning("an answer is dropped: %s", HOSTILE)
    log.removeHandler(handler)

    assert stream.getvalue().count("\n") == 1
    assert is_plain_text(stream.getvalue().rstrip("\n"))


@given(st.text(st.one_of(st.characters(), st.sampled_from(list(characters(union(INVISIBLE, BLANK)))))))
def test_plain_text_shows_itself_and_plain_json_is_the_same_json(text: str) -> None:
    """For any text, lone surrogates and what nobody sees included."""
    assert is_plain_text(plain(text))
    assert all(map(is_plain_text, plain_json({text: [text]}, indent=2).split("\n")))
    assert json.loads(plain_json({text: [text]})) == {text: [text]}


def test_an_approver_sees_a_difference_where_there_is_one() -> None:
    """Two names that look alike on a screen are not shown alike."""
    assert plain("bo\ufe0fb") == "bo\\ufe0fb"
    assert plain_json({"to": "bo\ufe0fb", "memo": "for\u3164\u2800bob"}) == (
        '{"to": "bo\\ufe0fb", "memo": "for\\u3164\\u2800bob"}'
    )


def test_a_sealed_payload_is_told_by_its_size_only() -> None:
    sealed = b"sealed to somebody else"
    record = Record(codec.frame(hostile_event()), None, (("macaw-payload", sealed), ("macaw-kid", b"\x01")))

    headers = Renderer("acme", GENESIS).json(record)["headers"]

    assert headers == [{"name": "macaw-payload", "sealed_bytes": len(sealed)}, {"name": "macaw-kid", "value": "01"}]


def test_times_are_utc_to_the_millisecond() -> None:
    assert time_of(1_795_322_252_007) == "2026-11-22T04:37:32.007Z"
