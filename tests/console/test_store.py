"""The console's store: each call once, whatever the order; counts that agree with the rows; bounds."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME, Message

from producers.kafka.verified import UntrustedRecordError
from schemas.words import Outcome
from streams.console import questions
from streams.console import store as kept
from streams.console.follower import UNTRUSTED_TOLD, Freshness, received
from streams.console.questions import PAGE_ROWS, CallsAsked, SlowQuestionError
from streams.console.store import KEPT_MS, MINUTE_MS, CallStore, CallStoreError
from tests.console.stored import GENESIS, Stored, logged_in


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    return Stored(tmp_path)


def all_calls(stored: Stored, **filters: str) -> list[str]:
    found, before = [], None
    while True:
        page = stored.questions.calls(CallsAsked(filters=filters, before=before))
        found += [row["event"] for row in page.rows]
        if page.before is None:
            return found
        before = page.before


def test_an_outcome_may_come_before_its_decision(stored: Stored) -> None:
    call = stored.decision()
    stored.put(stored.result(call))
    assert stored.questions.call(call.event.hex()) is None
    stored.put(call)
    row = stored.questions.call(call.event.hex())
    assert row is not None
    assert (row["outcome"], row["result"], row["result_at"] - row["at"]) == (Outcome.ALLOWED, Outcome.OK, 5)


def test_the_final_decision_takes_the_place_of_the_first(stored: Stored) -> None:
    first = stored.decision(outcome=Outcome.PENDING, reason="APPROVAL_PENDING")
    last = stored.denied(
        event=first.event, event_id=first.event_id, decided_at=stored.now + 7000, reason="APPROVAL_DENIED"
    )
    stored.put(first)
    assert stored.questions.overview(0, stored.now).waiting == 1
    stored.put(last)
    row = stored.questions.call(first.event.hex())
    assert row is not None
    assert (row["outcome"], row["waited_at"], row["audit_index"]) == (Outcome.DENIED, stored.now, last.audit_index)
    assert stored.questions.overview(0, stored.now + 7000).waiting == 0
    assert all_calls(stored) == [first.event.hex()]


def test_every_number_leads_to_its_rows(stored: Stored) -> None:
    chance = random.Random(7)
    calls = [
        (stored.denied if chance.random() < 0.5 else stored.decision)(
            resource=f"tool:shop/{chance.randrange(4)}", decided_at=stored.now - chance.randrange(3_600_000)
        )
        for _ in range(3 * PAGE_ROWS)
    ]
    chance.shuffle(calls)
    for at in range(0, len(calls), 17):
        stored.put(*calls[at : at + 17])
    overview = stored.questions.overview(stored.now - 3_600_000, stored.now)
    assert overview.total == len(calls) == sum(sum(bar.counts.values()) for bar in overview.bars)
    for outcome, number in overview.outcomes.items():
        assert len(all_calls(stored, outcome=outcome)) == number
    for counted in overview.resources:
        assert len(all_calls(stored, outcome=Outcome.DENIED, resource=counted.name)) == counted.calls
    assert sorted(all_calls(stored)) == sorted(call.event.hex() for call in calls)


def test_a_filter_is_a_value_and_no_statement(stored: Stored) -> None:
    hostile = "x' OR 1=1 --"
    stored.put(stored.decision(), stored.decision(principal_id=hostile, detail="It said: 100% 'sure'_"))
    assert len(all_calls(stored, principal=hostile)) == 1
    for text, found in (("100% 'SURE'_", 1), ("100_", 0), ("%", 1), ("' OR '1", 0)):
        assert len(stored.questions.calls(CallsAsked(filters={}, text=text)).rows) == found, text


def test_a_batch_counts_whole_or_not_at_all(stored: Stored) -> None:
    stored.store.put([stored.decision()], {("t", 0): 4})
    broken = stored.decision(detail=None)  # NOT NULL
    with pytest.raises(CallStoreError):
        stored.store.put([stored.decision(), broken], {("t", 0): 6})
    assert len(all_calls(stored)) == 1
    assert stored.store.positions() == {("t", 0): 4}


def test_a_store_of_another_founding_or_form_begins_anew(stored: Stored) -> None:
    stored.put(stored.decision())
    stored.store.close()
    again = CallStore(stored.path, GENESIS)
    assert len(all_calls(stored)) == 1
    again.close()
    CallStore(stored.path, bytes(32)).close()
    assert all_calls(stored) == []
    assert stored.path.stat().st_mode & 0o077 == 0


def test_what_is_no_store_is_told(tmp_path: Path) -> None:
    (tmp_path / "calls.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(CallStoreError, match="remove the file"):
        CallStore(tmp_path / "calls.sqlite", GENESIS)


def test_old_calls_leave_and_so_do_the_oldest_above_the_bound(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    old, *new = [stored.decision(decided_at=stored.now - age) for age in (KEPT_MS + 100, 3, 2, 1)]
    stored.put(old, stored.result(old), *new)
    stored.store.forget(stored.now)
    assert old.event.hex() not in all_calls(stored)
    monkeypatch.setattr(kept, "CALLS_MAX", 2)
    stored.store.forget(stored.now)
    assert all_calls(stored) == [new[2].event.hex(), new[1].event.hex()]
    with sqlite3.connect(stored.path) as db:
        assert db.execute("SELECT COUNT(*) FROM outcomes").fetchone() == (0,)


def test_a_copy_of_a_record_changes_nothing(stored: Stored) -> None:
    """Whoever can write to the topic can write what the monitor has signed once more: also an older record."""
    first = stored.decision(outcome=Outcome.PENDING, reason="APPROVAL_PENDING")
    last = stored.decision(event=first.event, event_id=first.event_id, decided_at=stored.now + 9)
    unknown = stored.result(first, outcome=Outcome.UNKNOWN)
    told = stored.result(first)
    stored.put(first, last, unknown, told)
    before = (stored.questions.call(first.event.hex()), stored.questions.overview(0, stored.now + 9))
    for copies in ([first], [last], [unknown], [told], [first, last], [last, first, first, unknown, told]):
        stored.put(*copies)
        assert (stored.questions.call(first.event.hex()), stored.questions.overview(0, stored.now + 9)) == before
    row, overview = before
    assert row is not None
    assert (row["outcome"], row["waited_at"], row["result"]) == (Outcome.ALLOWED, stored.now, Outcome.OK)
    assert (overview.total, overview.waiting) == (2, 0)


def test_no_call_hides_another_one(stored: Stored) -> None:
    """An `event_id` is its sender's choice, and an audit index that stands twice is a forgery of a monitor's."""
    bad = stored.denied(principal_id="thief")
    report = stored.result(bad, outcome=Outcome.FAILED)
    stored.put(bad, report)
    good = stored.decision(event_id=bad.event_id, principal_id="thief")
    waiting = stored.decision(outcome=Outcome.PENDING, reason="APPROVAL_PENDING")
    stored.put(good, stored.result(good), waiting)
    stored.put(stored.decision(audit_index=bad.audit_index, principal_id="forger"))
    stored.put(stored.decision(audit_index=bad.audit_index, event=waiting.event))
    assert all_calls(stored, principal="thief") == [good.event.hex(), bad.event.hex()]
    for call, outcome, result in ((bad, Outcome.DENIED, Outcome.FAILED), (good, Outcome.ALLOWED, Outcome.OK)):
        row = stored.questions.call(call.event.hex())
        assert row is not None
        assert (row["outcome"], row["result"]) == (outcome, result)
    assert all_calls(stored, outcome=Outcome.PENDING) == [waiting.event.hex()]
    assert all_calls(stored, principal="forger") == []
    assert stored.questions.overview(0, stored.now).total == 3


def test_below_the_bound_nothing_is_forgotten_early(stored: Stored) -> None:
    """An outcome may come long before its decision, and a call may wait for days."""
    late = stored.decision()
    first = stored.decision(outcome=Outcome.PENDING, decided_at=stored.now - 3 * MINUTE_MS)
    last = stored.decision(event=first.event)
    stored.put(stored.result(late), first, last)
    stored.store.forget(stored.now)
    stored.put(late)
    row = stored.questions.call(late.event.hex())
    assert row is not None
    assert row["result"] == Outcome.OK
    assert stored.questions.overview(0, stored.now).total == 3


def test_what_is_said_of_forgotten_calls_is_forgotten(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent chooses the names of resources: the counts of minutes are bounded with the calls."""
    for n in range(6):
        call = stored.denied(resource=f"tool:made/up{n}", decided_at=stored.now + n * MINUTE_MS)
        stored.put(call, stored.result(call))
    monkeypatch.setattr(kept, "CALLS_MAX", 2)
    stored.store.forget(stored.now)
    with sqlite3.connect(stored.path) as db:
        for table in ("calls", "outcomes", "minutes"):
            (count,) = db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()
            assert 2 <= count <= 3, table  # the outcome of the last call that left has a higher index


def test_a_question_ends_in_its_time(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text is looked for in every row: open pages that ask again each second must not hold all threads."""
    stored.put(*(stored.denied(detail="x" * 400) for _ in range(500)))
    monkeypatch.setattr(questions, "ANSWER_SECONDS", -1.0)
    monkeypatch.setattr(questions, "STEPS_BETWEEN_LOOKS", 100)
    with pytest.raises(SlowQuestionError, match="give a filter"):
        stored.questions.calls(CallsAsked(filters={}, text="nothing"))
    with stored.browser() as browser:
        answer = logged_in(browser).get("/calls?text=nothing")
        assert (answer.status_code, answer.json()["code"]) == (503, "QUESTION_SLOW")


def test_forgeries_are_told_also_after_a_restart(stored: Stored) -> None:
    """Their offsets are behind the console then: a banner that goes would hide that somebody else writes."""
    stored.store.put([], {("t", 0): 4}, untrusted=3)
    stored.store.close()
    again = CallStore(stored.path, GENESIS)
    assert (again.untrusted(), again.positions()) == (3, {("t", 0): 4})
    again.close()
    anew = CallStore(stored.path, bytes(32))
    assert anew.untrusted() == 0


def test_a_flood_of_forgeries_does_not_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    freshness = Freshness()
    for n in range(10_000):
        freshness.note_untrusted(f"decisions, offset {n}", UntrustedRecordError("not signed by a live monitor key"))
    assert freshness.untrusted == 10_000
    assert len(caplog.records) == UNTRUSTED_TOLD


def test_a_forger_does_not_date_a_record_back() -> None:
    """A key that was rotated signs for the time before its end: a time that the sender wrote is not believed."""
    given = {"topic": "macaw.acme.decisions", "partition": 0, "offset": 1, "value": b"v"}
    by_broker = received(Message(**given, timestamp=(TIMESTAMP_LOG_APPEND_TIME, 5)))
    by_sender = received(Message(**given, timestamp=(TIMESTAMP_CREATE_TIME, 5)))
    assert by_broker.appended_at == 5
    assert by_sender.appended_at > 1_700_000_000_000
