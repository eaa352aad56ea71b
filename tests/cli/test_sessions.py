"""`macaw sessions`: who is logged in from where, and what they did, for people and for programs."""

import json
from dataclasses import replace

import pytest

from macaw.cli import main
from schemas import codec
from tests.cli.test_views_lists import NASTY, shown  # noqa: F401 - a fixture
from tests.streams.test_views_counts import ONE, PERSON, TWO, begin, decision
from tests.streams.views_shown import Shown

WIDTH = 120


@pytest.fixture
def sessions(shown: Shown) -> Shown:  # noqa: F811 - the fixture
    times = {"opened_at": shown.now, "at": shown.now, "expires_at": shown.now + 3_600_000}
    person = replace(PERSON, **times, principal_id="user:alice@example.com", issuer="https://acme.okta.com")
    shown.put(person)
    shown.put(replace(person, session_id=TWO, principal_id=NASTY, role="agent", issuer="", actors=()))
    ended = {"status": "ended", "expires_at": shown.now + 1}
    shown.put(replace(person, **ended, session_id=b"3" * 32, principal_id="old", audit_index=9))
    begin(shown.counts, "acme")
    for one in (decision(1, "allowed"), decision(2, "denied"), decision(3, "pending")):
        shown.counts.count("acme", 0, codec.frame(replace(one, decided_at=shown.now)))
    return shown


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[str, str]:
    capsys.readouterr()
    assert main(("sessions", *argv)) == 0
    out, err = capsys.readouterr()
    return out, err


def test_people_see_each_session_in_one_line(sessions: Shown, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = run(capsys)
    heading, *lines = out.splitlines()

    assert heading.split() == [
        *("SESSION", "PRINCIPAL", "ROLE", "STATUS", "ISSUER", "OPENED", "EXPIRES", "SEEN", "CALLS", "DENIED")
    ]
    assert len(lines) == 3
    assert max(map(len, (heading, *lines))) <= WIDTH
    [alice] = [line for line in lines if "alice" in line]
    assert alice.split()[:5] == [ONE.hex()[:10], "user:alice@example.com", "user", "open", "acme.okta.com"]
    assert alice.split()[-2:] == ["3", "1"]
    assert "\x1b" not in out
    assert err == ""


def test_attributes_and_actors_are_shown_when_asked_for(sessions: Shown, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = run(capsys, "--attributes", "--principal", "user:alice@example.com")

    assert out.splitlines()[1].endswith("team=finance roles=manager,clerk actors=workload:desk")


@pytest.mark.parametrize(
    ("argv", "found"),
    [
        (("--open",), {"user:alice@example.com", NASTY}),
        (("--principal", "old"), {"old"}),
        (("--principal", "old", "--open"), set()),
        (("--issuer", "https://acme.okta.com", "--open"), {"user:alice@example.com"}),
    ],
)
def test_options_choose_sessions(
    sessions: Shown, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], found: set[str]
) -> None:
    assert {row["principal_id"] for row in json.loads(run(capsys, *argv, "--json")[0])} == found


def test_missing_calls_are_explained(sessions: Shown, capsys: pytest.CaptureFixture[str]) -> None:
    begin(sessions.counts, "acme", since=sessions.now + 1)
    assert "older decisions are not kept" in run(capsys)[1]

    sessions.counts.forget("acme")
    sessions.counts.note_listed([])
    out, err = run(capsys)
    assert out.splitlines()[1].split()[-2:] == ["?", "?"]
    assert "macaw topic check" in err


def test_json_is_the_apis_own(sessions: Shown, capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(run(capsys, "--json")[0]) == sessions.get("sessions").json()["sessions"]
