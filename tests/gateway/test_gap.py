"""Calls without a decision: which run while no broker answers, and that the log gets each of them afterwards."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp import Client

from macaw.cli import main
from macaw.gateway import fail_open, gap_journal, gaps
from macaw.gateway.fail_open import FailOpen, LogAwayError, OpenRule, decoy_of, digest_of, right_to
from macaw.gateway.gap_journal import GapJournal, GapPart, JournalError, first_head
from macaw.gateway.gap_records import GapRecord, joined
from macaw.gateway.gaps import metadata_of
from macaw.gateway.serving import Served
from macaw.gateway.transports import ServerCommand
from macaw.installation.enforcement import set_exception
from macaw.installation.tenancy import admin_connection
from processors.policy.patterns import check_pattern, grants, resource_name
from producers.home.home import Home
from schemas.words import EnforcementKind, EnforcementScope
from streams.local.embedded import EmbeddedBroker
from tests.gateway.open_log import folder
from tests.gateway.places import EVERYTHING, allow, served_to, until
from tests.installation import Installation, installed, monitoring

TOOL, OTHER = "tool:every/add", "tool:every/slow"
SESSION, ANN = b"s" * 32, "user:ann"
DIGEST = digest_of({"a": 1})


def rule(*, calls: int = 3) -> OpenRule:
    """Return a rule that has heard all that one call needs, at 1000 s."""
    found = OpenRule(FailOpen(minutes=10, calls=calls, known_minutes=60))
    found.hear_open([TOOL, OTHER], [right_to(TOOL)], 1000.0)
    found.hear_caller(SESSION, [TOOL, OTHER], [TOOL, OTHER], 1000.0)
    return found


def why(found: OpenRule, now: float, **other: Any) -> str:
    asked = {"session_id": SESSION, "principal_id": ANN, "resource": TOOL, "digest": DIGEST, "now": now} | other
    return found.why_closed(**asked)


def test_a_call_runs_only_while_the_log_is_away() -> None:
    found = rule()
    assert why(found, 1001.0) == "the log is there"
    found.lose(1010.0)
    assert why(found, 1011.0) == ""
    found.regain()
    assert why(found, 1012.0) == "the log is there"


@pytest.mark.parametrize(
    "other",
    [
        {"resource": OTHER},
        {"resource": "tool:every/never"},
        {"session_id": b"t" * 32},
        {"now": 1010.0 + 601},
    ],
)
def test_a_call_that_lacks_one_thing_does_not_run(other: dict[str, Any]) -> None:
    found = rule()
    found.lose(1010.0)
    assert why(found, **({"now": 1011.0} | other)) != ""


def test_what_was_heard_too_long_before_does_not_count() -> None:
    found = rule()
    found.lose(1000.0 + 3601)
    assert why(found, 4602.0) != ""


def test_what_was_taken_back_does_not_count() -> None:
    taken = (
        lambda found: found.hear_open([TOOL], [], 1005.0),
        lambda found: found.hear_caller(SESSION, [TOOL], [], 1005.0),
        lambda found: found.hear_open([TOOL], [right_to(TOOL), decoy_of(TOOL)], 1005.0),
        lambda found: found.hear_denied(SESSION, ANN, TOOL, "another", 1005.0),
        lambda found: found.forget(SESSION, 1005.0),
    )
    for take in taken:
        found = rule()
        take(found)
        found.hear_caller(SESSION, [TOOL], [TOOL], 1004.0)  # a call that was allowed before, and ended only now
        found.lose(1010.0)
        assert why(found, 1011.0) != ""


def test_what_was_taken_back_long_ago_is_not_heard_from_an_older_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fail_open, "HEARD_MAX", 2)
    found = rule()
    found.forget(SESSION, 1005.0)
    for number in range(5):
        found.hear_denied(b"other", "user:bob", TOOL, str(number), 1006.0)
        found.forget(bytes([number]), 1006.0)
    found.hear_caller(SESSION, [TOOL], [TOOL], 1004.0)
    assert found.heard() == {}
    found.hear_caller(SESSION, [TOOL], [TOOL], 1007.0)
    assert found.heard() == {SESSION: [TOOL]}


def test_a_policy_that_means_everything_opens_nothing() -> None:
    """`**` is written for a program's calls; nobody thinks of calls without a decision."""
    for pattern, is_open in ((right_to("tool:every/**"), True), ("**", False), ("*:**", False), ("fail-*:**", False)):
        found = OpenRule(FailOpen())
        names = [right_to(TOOL), decoy_of(TOOL)]
        check_pattern(pattern, "")
        found.hear_open([TOOL], [one for one in names if grants(pattern, resource_name(one))], 1000.0)
        assert bool(found._open) is is_open, pattern


def test_a_denied_call_does_not_run_later_and_many_of_them_close_the_gate() -> None:
    found = rule()
    found.hear_denied(SESSION, ANN, TOOL, DIGEST, 1005.0)
    found.hear_caller(SESSION, [TOOL], [TOOL], 1006.0)
    found.lose(1010.0)
    assert "denied this call" in why(found, 1011.0)
    assert why(found, 1011.0, digest="ab") == ""
    for number in range(fail_open.DENIED_OF_ONE_MAX + 1):
        found.hear_denied(b"other", ANN, TOOL, str(number), 1007.0)
    assert "too many calls" in why(found, 1011.0, digest="ab")


def test_a_network_that_is_cut_again_and_again_gives_no_more_calls() -> None:
    found = rule(calls=2)
    now, ran = 1010.0, 0
    for _ in range(20):
        found.lose(now)
        ran += why(found, now + 1) == ""
        found.regain()
        found.hear_open([TOOL], [right_to(TOOL)], now + 2)
        found.hear_caller(SESSION, [TOOL], [TOOL], now + 2)
        now += 60
    assert ran == 2


def test_parameters_that_the_log_would_not_take_do_not_run() -> None:
    for value in (float("nan"), 2**60, "\ud800"):
        with pytest.raises(LogAwayError):
            digest_of({"a": value})


# --- the journal


def journal(path: Path, **how: Any) -> GapJournal:
    tenant = Home.open(path / "home").tenant("acme") if (path / "home").exists() else folder(path)
    return GapJournal(tenant, "every", **how)


LINE: Mapping[str, Any] = {
    "kind": "begun",
    "at": 1,
    "resource": TOOL,
    "principal": ANN,
    "session": "",
    "parameters": "",
}


def test_a_journal_is_told_once_and_goes_on_with_its_numbers(tmp_path: Path) -> None:
    first = journal(tmp_path)
    assert [first.write(LINE) for _ in range(3)] == [1, 2, 3]
    assert first.path.stat().st_mode & 0o777 == 0o600
    first.close()
    again = journal(tmp_path)
    part = again.next_part()
    assert part is not None
    assert (part.first, part.last, again.untold) == (1, 3, 3)
    again.note_told(part)
    assert again.next_part() is None
    assert again.path.stat().st_size == 0
    again.close()
    third = journal(tmp_path)
    assert third.untold == 0
    assert third.write(LINE) == 4
    later = third.next_part()
    assert later is not None
    assert later.before == part.head
    third.close()


def test_a_line_that_was_not_written_whole_is_none(tmp_path: Path) -> None:
    first = journal(tmp_path)
    first.write(LINE)
    first.close()
    with first.path.open("ab") as file:
        file.write(b'{"kind":"begun"')
    again = journal(tmp_path)
    assert again.untold == 1
    assert again.write(LINE) == 2
    again.close()
    assert journal(tmp_path).untold == 2


@pytest.mark.parametrize("change", ["drop", "change", "garbage", "swap"])
def test_a_journal_that_was_changed_is_not_used(tmp_path: Path, change: str) -> None:
    first = journal(tmp_path)
    for _ in range(3):
        first.write(LINE)
    first.close()
    lines = first.path.read_bytes().splitlines(keepends=True)
    changed = {
        "drop": [lines[0], lines[2]],
        "change": [lines[0].replace(b"add", b"del"), *lines[1:]],
        "garbage": [b"\x00\n", *lines],
        "swap": [lines[1], lines[0], lines[2]],
    }
    first.path.write_bytes(b"".join(changed[change]))
    with pytest.raises(JournalError, match="not whole"):
        journal(tmp_path)


def test_a_full_journal_and_a_second_gateway_are_refused(tmp_path: Path) -> None:
    first = journal(tmp_path, bytes_max=3 * gap_journal.LINE_BYTES_MAX)
    with pytest.raises(JournalError, match="another gateway"):
        journal(tmp_path)
    while first.path.stat().st_size + 2 * gap_journal.LINE_BYTES_MAX <= 3 * gap_journal.LINE_BYTES_MAX:
        first.write(LINE)
    with pytest.raises(JournalError, match="no room"):
        first.write(LINE)
    first.write({"kind": "done", "call": 1}, room_for=1)
    with pytest.raises(JournalError, match="no room"):
        first.write({**LINE, "resource": "x" * gap_journal.LINE_BYTES_MAX})
    first.close()


def records(path: Path, count: int) -> tuple[list[GapRecord], str]:
    """Return the records of a journal of so many calls, each of one line."""
    made = journal(path)
    for _ in range(count):
        made.write(LINE)
    whole = made.next_part()
    assert whole is not None
    made.close()
    found = []
    for line in whole.lines:
        part = GapPart(line["n"], line["n"], line["before"], gap_journal.head_of(line), (line,))
        found.append(GapRecord(json.loads(json.dumps(metadata_of("every", part))), True))
    return found, whole.before


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[GapRecord], str]:
    return records(tmp_path_factory.mktemp("told"), 6)


@given(data=st.data())
def test_a_hole_in_the_records_is_told(told: tuple[list[GapRecord], str], data: st.DataObject) -> None:
    every, first = told
    kept = data.draw(st.lists(st.sampled_from(range(6)), max_size=12))
    found = joined([every[at] for at in kept], first=first)
    assert [one.line for one in found.calls] == sorted({at + 1 for at in kept})
    has_hole = bool(kept) and set(kept) != set(range(max(kept) + 1))
    assert bool(found.faults) == has_hole


def test_a_journal_that_began_anew_is_told(told: tuple[list[GapRecord], str]) -> None:
    every, first = told
    said = json.loads(json.dumps(every[0].said))
    said["lines"][0]["resource"] = "tool:every/other"
    assert joined([*every, GapRecord(said, True)], first=first).faults


def test_a_changed_record_is_told(told: tuple[list[GapRecord], str]) -> None:
    every, first = told
    for name, value in (("resource", "tool:every/other"), ("before", "00" * 32)):
        said = json.loads(json.dumps(every[2].said))
        said["lines"][0][name] = value
        assert joined([*every[:2], GapRecord(said, True), *every[3:]], first=first).faults
    assert first == first_head(bytes.fromhex("ab" * 32), "every")


@pytest.mark.parametrize("begins", [1, 0, -5])
def test_a_record_that_nobody_signed_hides_no_signed_line(told: tuple[list[GapRecord], str], begins: int) -> None:
    """Head, numbers and names of a journal are no secrets, so any program can write a chain that fits."""
    every, first = told
    forged, before = [], first
    for number in range(1, 9):
        forged.append({**LINE, "resource": "tool:every/never", "n": number, "before": before})
        before = gap_journal.head_of(forged[-1])
    said = {"server": "every", "first": begins, "last": 8, "before": first, "head": before, "lines": forged}
    found = joined([GapRecord(said, False), *every], first=first)
    assert [(one.line, one.resource, one.is_signed) for one in found.calls] == [
        (at, LINE["resource"], True) for at in range(1, 7)
    ]
    assert len(found.faults) == 1
    assert "not counted" in found.faults[0]


_ODD = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from(["done", "begun", "aa", "bb"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["n", "call", "kind", "before", "at", "x"]), inner, max_size=5),
    ),
)


@given(
    said=st.dictionaries(st.sampled_from(["first", "last", "before", "head"]), _ODD),
    lines=st.one_of(_ODD, st.just([{"n": 1, "call": [1], "kind": "done", "before": "aa"}])),
)
def test_a_record_of_any_shape_stops_no_reader(told: tuple[list[GapRecord], str], said: Any, lines: Any) -> None:
    joined([GapRecord({**said, "lines": lines}, False)], first="aa")
    every, first = told
    assert len(joined([*every, GapRecord({**said, "lines": lines}, False)], first=first).calls) >= len(every)


# --- the whole of it


def freeze(here: Installation, resource: str) -> None:
    with admin_connection(here.home, here.folder) as connection:
        set_exception(connection, EnforcementKind.FREEZE, EnforcementScope.RESOURCE, resource, reason="an incident")


@pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
def test_what_ran_while_the_broker_was_away_stands_on_the_log(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A tool without a policy for it, a frozen one, and a caller who was never allowed do not run."""
    caplog.set_level(logging.WARNING)
    for name in ("LOOK_SECONDS", "HEAR_SECONDS"):
        monkeypatch.setattr(gaps, name, 0.3)
    with (
        EmbeddedBroker(tmp_path / "broker") as broker,
        ExitStack() as monitor,  # it is stopped and started as well: one that loses its broker may take a minute
    ):
        here = monitor.enter_context(installed(broker.info, tmp_path / "home", "mcpgap", development=True))
        allow(
            here,
            {"policy_id": "service:shopper", "resources": ["tool:every/*", "mcp:every/**"]},
            {
                "policy_id": "service:every",
                "resources": ["fail-open:tool/every/add", "fail-open:tool/every/blocks"],
            },
        )
        command = ServerCommand([sys.executable, str(EVERYTHING)])
        served = Served(
            name="every",
            server=command,
            tenant=here.folder.tenant,
            home=here.home,
            fail_open=FailOpen(calls=2),
        )

        async def play() -> None:
            async with served_to(served, "shopper") as place, Client(place.front.server()) as client:
                for name, given in (("add", {"a": 1, "b": 1}), ("blocks", {}), ("slow", {"seconds": 0})):
                    assert not (await client.call_tool(name, given)).is_error
                await asyncio.to_thread(freeze, here, "tool:every/blocks")
                found = place.gateway.gaps
                assert found is not None
                await until(lambda: found.rule.heard() == {place.caller.session_id: ["tool:every/add"]})
                await asyncio.to_thread(monitor.close)
                await asyncio.to_thread(broker.stop)
                await until(lambda: found.is_away)
                assert (await client.call_tool("add", {"a": 2, "b": 3})).structured_content == {"result": 5}
                for name, given in (("slow", {"seconds": 0}), ("blocks", {})):
                    refused = await client.call_tool(name, given)
                    assert refused.is_error
                    assert "LOG_AWAY" in refused.content[0].text
                assert (await client.call_tool("add", {"a": 2, "b": 4})).structured_content == {"result": 6}
                refused = await client.call_tool("add", {"a": 2, "b": 5})
                assert "2 calls have run" in refused.content[0].text
                await asyncio.to_thread(broker.start)
                await asyncio.to_thread(monitor.enter_context, monitoring(broker.info, here.home, ["mcpgap"]))
                await until(lambda: not found.is_away and not found._journal.untold)
                assert (await client.call_tool("add", {"a": 3, "b": 3})).structured_content == {"result": 6}

        asyncio.run(play())
        monkeypatch.setenv("MACAW_HOME", str(here.home.path.parent))
        capsys.readouterr()
        assert main(["mcp", "gaps", "every", "--tenant", "mcpgap", "--json"]) == 0
        listed = json.loads(capsys.readouterr().out)
    assert [(one["resource"], one["outcome"], one["is_signed"]) for one in listed["calls"]] == 2 * [
        (TOOL, "a result", True)
    ]
    assert listed["calls"][0]["parameters"] == digest_of({"a": 2, "b": 3})
    assert listed["faults"] == []
