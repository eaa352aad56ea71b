"""Reports that cannot be sent: they are kept, sent by whoever comes next, and nothing is executed meanwhile."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from producers.home.keys import KeyPair
from producers.kafka.bodies import Bodies
from producers.kafka.followed_topic import RegistryError
from producers.kafka.publisher import EventTooLargeError, PublishError, UnsignableError
from producers.tools import host as tool_host
from producers.tools import outbox as module
from producers.tools.beside import BodyDesk
from producers.tools.crew import Crew
from producers.tools.executed import FORGOTTEN_PER_BATCH_MAX, KEEP_MS, ExecutedCalls
from producers.tools.host import HostError, ToolHost
from producers.tools.outbox import Outbox
from producers.tools.result_text import UNWRITTEN
from schemas.records import Attestation, ResultReported
from tests.producers.test_tool_host import Feed, taken

EVENT = b"e" * 32


class Line:
    """What publishes, with what the broker answers; None is no answer at all."""

    def __init__(self, *answers: Exception | int | None) -> None:
        self.answers, self.said = list(answers), list[tuple[ResultReported, Any]]()
        self.ahead_ms: int | None = 0
        self.is_running = True

    def publish(self, report: ResultReported, *, causation_id: bytes | None = None) -> Future[int]:
        self.said.append((report, causation_id))
        future: Future[int] = Future()
        match self.answers.pop(0) if self.answers else 0:
            case Exception() as exc:
                future.set_exception(exc)
            case int() as offset:
                future.set_result(offset)
        return future


GONE = PublishError("the broker did not take the event: _MSG_TIMED_OUT")


def report(body: str = "1") -> ResultReported:
    attested = Attestation(key="seen", value="true", one_time=True, max_uses=1, ttl_ms=5)
    return ResultReported(decision=bytes(31) + b"\xff", outcome="ok", body=body, attestations=(attested,))


@pytest.fixture
def memory(tmp_path: Path) -> ExecutedCalls:
    return ExecutedCalls(tmp_path / "calls.db")


def made(memory: ExecutedCalls, *answers: Exception | int | None) -> tuple[Outbox, Line]:
    line: Any = Line(*answers)
    return Outbox(line, memory), line


def test_a_report_that_is_taken_is_not_kept(memory: ExecutedCalls) -> None:
    """It names the call that it is about."""
    outbox, line = made(memory)

    assert outbox.send(EVENT, report())
    assert line.said == [(report(), EVENT)]
    assert (outbox.kept, outbox.is_late, memory.reports()) == (0, False, {})


def test_a_report_that_cannot_be_sent_is_sent_by_the_next_process(tmp_path: Path, memory: ExecutedCalls) -> None:
    """As it was: outcome, body, and what is attested; once."""
    outbox, _ = made(memory, GONE)
    assert not outbox.send(EVENT, report())
    assert (outbox.kept, outbox.is_late) == (1, True)
    memory.close()

    again = ExecutedCalls(tmp_path / "calls.db")
    later, line = made(again, GONE)
    assert later.is_late
    with pytest.raises(PublishError):
        later.send_kept()
    assert later.is_late
    later.send_kept()
    later.send_kept()

    assert line.said == [(report(), EVENT)] * 2
    assert not later.is_late
    assert again.reports() == {}


@pytest.mark.parametrize(
    "why", [EventTooLargeError("the event has 2 bytes; intake takes 1"), UnsignableError("no event")]
)
def test_a_report_that_would_never_be_taken_is_shortened(memory: ExecutedCalls, why: Exception) -> None:
    """The outcome is told in any case."""
    outbox, line = made(memory, why)

    assert outbox.send(EVENT, report())
    [_, (sent, _)] = line.said
    assert (sent.outcome, sent.attestations) == ("ok", ())
    assert json.loads(sent.body) == {UNWRITTEN: "report", "at": "", "why": str(why)}


def test_a_broker_that_does_not_answer_keeps_the_report(memory: ExecutedCalls, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is waited for the outbox is late already."""
    monkeypatch.setattr(module, "SEND_SECONDS", 0.3)
    monkeypatch.setattr(module, "LATE_SECONDS", 0.05)
    outbox, _ = made(memory, None)
    sending = threading.Thread(target=outbox.send, args=(EVENT, report()))
    sending.start()
    while not outbox.is_late:
        assert sending.is_alive()
    assert outbox.kept == 0
    sending.join()

    assert outbox.kept == 1


def test_a_disk_that_is_full_keeps_the_report_in_memory(
    memory: ExecutedCalls, caplog: pytest.LogCaptureFixture
) -> None:
    """And says so."""
    memory.close()
    outbox, line = made(ExecutedCalls(memory.path), GONE)
    outbox._memory._db.execute("DROP TABLE unsent")

    assert not outbox.send(EVENT, report())
    assert outbox.kept == 1
    assert "in memory only" in caplog.text
    outbox.send_kept()
    assert len(line.said) == 2
    assert not outbox.is_late


@pytest.mark.parametrize(
    ("ahead_ms", "says"), [(10_001, "10 s ahead of"), (60_000, "60 s ahead of"), (-300_001, "300 s behind")]
)
def test_a_clock_that_is_wrong_keeps_the_report(memory: ExecutedCalls, caplog: Any, ahead_ms: int, says: str) -> None:
    """The log refuses what it signs; with the right time the report is taken."""
    outbox, line = made(memory)
    line.ahead_ms = ahead_ms

    assert not outbox.send(EVENT, report())
    assert f"this machine's clock is {says} the brokers'" in caplog.text
    line.ahead_ms = 10_000
    outbox.send_kept()
    assert not outbox.is_late


# ---- the host


@pytest.fixture
def host(memory: ExecutedCalls) -> Any:
    """A host without a broker, whose feed gives one record after the other."""
    made: Any = object.__new__(ToolHost)
    made._app, made._executed, made._feed = "bank", memory, Endless()
    made._stop, made._late_since, made.ready = threading.Event(), None, threading.Event()
    made._crew, made._watch = Crew("tool", 1), Crew("watch", 1)
    made._sessions, made.served = NoSessions(), []
    made._bodies = BodyDesk(Bodies("127.0.0.1:1", tenant="bank"), KeyPair.generate())
    made._serve = made.served.append
    return made


class NoSessions:
    """Sessions of which none has ended, of a broker that does not answer at first."""

    closed = False

    def refresh(self) -> None:
        raise RegistryError("cannot read macaw.acme.sessions: not yet")

    def close(self) -> None:
        self.closed = True


class Endless(Feed):
    def start(self) -> None:
        """There is nothing to join."""

    def close(self) -> None:
        """Nor to leave."""

    def take(self) -> list[Any]:
        return [taken()]


def test_a_host_that_cannot_report_takes_nothing_and_ends(host: Any, memory: ExecutedCalls, monkeypatch: Any) -> None:
    """It says what it is that goes wrong, and where the reports are."""
    monkeypatch.setattr(tool_host, "REPORTLESS_SECONDS", 0.2)
    memory.keep_report(EVENT, module._text(report()))
    host._outbox, _ = made(memory, *[GONE] * 1000)

    with pytest.raises(HostError, match=r"bank cannot report .*_MSG_TIMED_OUT; reports are kept in .*calls.db"):
        host.run()

    assert (host.served, host.ready.is_set()) == ([], False)
    assert list(ExecutedCalls(memory.path).reports()) == [EVENT]


def test_a_host_sends_what_an_earlier_process_left_before_it_takes_anything(host: Any, memory: ExecutedCalls) -> None:
    """After that it serves."""
    memory.keep_report(EVENT, module._text(report()))
    host._outbox, line = made(memory, GONE)
    sent_before: list[int] = []

    def serve(_batch: list[Any]) -> None:
        sent_before.append(len(line.said))
        host.stop()

    host._serve = serve
    host.run()

    assert sent_before == [2]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_host_whose_threads_were_ended_ends(host: Any, memory: ExecutedCalls) -> None:
    """It would take calls and never run them, or run them and never report."""
    host._outbox, line = made(memory)
    line.is_running = False
    with pytest.raises(HostError, match="threads of bank were ended"):
        host.run()

    line.is_running = True
    host._crew, host._watch = Crew("tool", 1), Crew("watch", 1)
    host._crew.submit(sys.exit)
    host._crew.join()
    with pytest.raises(HostError, match="threads of bank were ended"):
        host.run()
    assert host.served == []


def test_a_host_whose_calls_do_not_end_ends(host: Any, memory: ExecutedCalls, caplog: Any, monkeypatch: Any) -> None:
    """Each holds a thread, and there is a bound for that; it does not wait for them."""
    monkeypatch.setattr(tool_host, "HELD_MAX", 2)
    host._outbox, _ = made(memory)
    release = threading.Event()
    for work in (lambda: release.wait(20), lambda: release.wait(20), lambda: release.wait(20)):
        host._crew.submit(work)
        while host._crew._queue.qsize() or work not in host._crew._running:
            time.sleep(0.001)
        host._crew.replace(work)

    with pytest.raises(HostError, match="3 calls of bank do not end"):
        host.run()
    assert "3 calls have not ended and are left" in caplog.text
    release.set()


def test_a_host_that_is_ended_from_within_says_so(host: Any, memory: ExecutedCalls) -> None:
    """Its supervisor must not take it for a wish."""
    host._outbox, _ = made(memory)

    def serve(_batch: object) -> None:
        raise SystemExit

    host._serve = serve
    with pytest.raises(HostError, match="was ended from within"):
        host.run()


def test_what_was_read_when_reports_became_late_is_read_again(host: Any) -> None:
    """Nothing of it was committed."""
    del host._serve
    host._outbox = SimpleNamespace(is_late=True)
    host._check_key, host._order = (lambda: None), (lambda _taken: None)
    host._serve([taken()])

    assert (host._feed.commits, host._feed.went_back) == (0, 1)


def test_a_host_whose_key_is_not_live_ends_before_it_commits(host: Any) -> None:
    """The log would take none of its reports; others execute what it has read."""
    del host._serve
    registry = SimpleNamespace(live_key=lambda _kid, _role: None)
    host._connection = SimpleNamespace(key=SimpleNamespace(kid=b""), trusted=SimpleNamespace(registry=registry))
    host._outbox, _ = made(host._executed)

    with pytest.raises(HostError, match="is revoked or past its time"):
        host.run()

    assert host._feed.commits == 0


def test_a_host_that_cannot_note_what_it_begins_reports_that_it_did_not_run(host: Any, decision_call: Any) -> None:
    """It is committed, and will not be executed by anybody: that is known, so it is said."""
    del host._serve
    host._check_key = lambda: None
    host._outbox, line = made(host._executed)
    host._tools = {}
    host._admit = lambda _message: decision_call
    host._executed._db.execute("DROP TABLE executed")

    with pytest.raises(HostError, match=r"cannot note the calls that it begins in .*calls.db"):
        host._serve([taken()])

    [(sent, _)] = line.said
    assert sent.outcome == "failed"
    assert "NOT_RUN" in sent.body


@pytest.fixture
def decision_call() -> Any:
    decision = SimpleNamespace(event=EVENT, execute_before=1, resource="tool:bank/pay")
    return SimpleNamespace(decision=decision, leaf=bytes(32))


# ---- the durable set


def test_what_is_too_old_is_forgotten_by_an_index_and_a_little_at_a_time(memory: ExecutedCalls) -> None:
    """A batch does not pay for all that was before it."""
    many = [(n.to_bytes(32, "big"), bytes(32), 1) for n in range(3 * FORGOTTEN_PER_BATCH_MAX)]
    statements: list[str] = []
    memory._db.set_trace_callback(statements.append)
    memory.begin(many, now_ms=1)
    memory._db.set_trace_callback(None)
    plans = [memory._db.execute(f"EXPLAIN QUERY PLAN {one}").fetchall() for one in statements if "executed" in one]

    assert not [row for plan in plans for row in plan if row[3].startswith("SCAN")]
    left = [memory.begin([], now_ms=2 + KEEP_MS) or rows(memory) for _ in range(4)]
    assert left == [2 * FORGOTTEN_PER_BATCH_MAX, FORGOTTEN_PER_BATCH_MAX, 0, 0]


def test_the_memory_of_many_calls_is_never_read_through(memory: ExecutedCalls) -> None:
    """A day of a busy tool: what a batch asks of it is found by an index, however the planner counts the rows."""
    memory._db.execute(
        "INSERT INTO executed WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000)"
        " SELECT randomblob(32), zeroblob(32), 1000 + i FROM n"
    )
    for known in ("", "ANALYZE"):
        memory._db.execute(known)
        statements: list[str] = []
        memory._db.set_trace_callback(statements.append)
        assert memory.begin([(EVENT, bytes(32), 1)], now_ms=2 + KEEP_MS) == [None]
        memory._db.set_trace_callback(None)
        asked = [one for one in statements if "executed" in one]
        plans = [row[3] for one in asked for row in memory._db.execute(f"EXPLAIN QUERY PLAN {one}").fetchall()]

        assert len(asked) == 3
        assert any("executed_by_time (execute_before<?)" in plan for plan in plans)
        assert not [plan for plan in plans if plan.startswith("SCAN")]
    assert rows(memory) == 300_000


def rows(memory: ExecutedCalls) -> int:
    [[count]] = memory._db.execute("SELECT COUNT(*) FROM executed").fetchall()
    return int(count)


def test_an_outcome_that_is_kept_is_told_to_the_operator(
    memory: ExecutedCalls, caplog: pytest.LogCaptureFixture
) -> None:
    """With what it is, so that nobody calls again in the dark."""
    outbox, _ = made(memory, GONE)
    with caplog.at_level(logging.ERROR):
        outbox.send(EVENT, report())

    assert f"the outcome ok of the call {EVENT.hex()} cannot be reported" in caplog.text


def test_kept_reports_are_for_their_owner_alone(tmp_path: Path) -> None:
    """They hold results; the folder may have been there before, with another mode."""
    memory = ExecutedCalls(tmp_path / "calls.db")
    memory.keep_report(EVENT, "{}")

    assert {path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == {0}
    memory.close()
