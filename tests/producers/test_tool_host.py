"""The tool host at its edges: time-outs, rebalances, a registry that is gone."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from producers.home.keys import KeyPair
from producers.kafka.bodies import Bodies
from producers.kafka.followed_topic import RegistryError
from producers.tools import collect_tools, idempotency_key, tool
from producers.tools import host as tool_host
from producers.tools.admission import AdmittedCall
from producers.tools.beside import BodyDesk
from producers.tools.commitments import Ownership
from producers.tools.crew import Crew
from producers.tools.decision_feed import Taken
from producers.tools.execution import Ended, failed
from producers.tools.guard import UNGUARDED, HostGuard
from producers.tools.host import HostTally, ToolHost
from schemas import codec, topics
from schemas.records import Decision, ResultReported
from tests.waiting import PATIENCE_SECONDS
from tests.world import Office

LATER_MS = 2**52


class Slow:
    """A tool that can be held, and one that raises a time-out of its own."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.ran: list[str] = []

    @tool(timeout_seconds=0.1)
    def hang(self) -> None:
        self.ran.append("hang")
        self.release.wait(10)

    @tool(timeout_seconds=0.1)
    def effect(self) -> None:
        self.ran.append("effect")

    @tool(idempotent=True)
    def key(self) -> str:
        return idempotency_key()

    @tool(idempotent=True)
    async def key_later(self) -> str:
        await asyncio.sleep(0)
        return idempotency_key()

    @tool
    def upstream(self) -> None:
        raise TimeoutError("the bank did not answer")


class Feed:
    """What a host reads from, without a broker: it takes every commitment, and remembers what it was told."""

    def __init__(self) -> None:
        self.commits = 0
        self.went_back = 0
        self.ended: list[Taken] = []

    def commit(self, _batch: list[Taken], _repeatable: list[Taken]) -> bool:
        self.commits += 1
        return True

    def remember(self, _batch: list[Taken]) -> None:
        """Nothing is read back here."""

    def go_back(self) -> None:
        self.went_back += 1

    def finished(self, taken: Taken) -> None:
        self.ended.append(taken)


class Sent:
    """An outbox that takes every report."""

    is_late, can_send = False, True

    def __init__(self) -> None:
        self.reports: list[ResultReported] = []

    def send(self, _event: bytes, report: ResultReported) -> bool:
        self.reports.append(report)
        return True


class Trusting:
    """A registry in which every key is live."""

    def __init__(self) -> None:
        self.registry = SimpleNamespace(live_key=lambda _kid, _role: object())


class Message:
    """A record as a consumer hands it over."""

    def __init__(self, key: bytes | None = b"", value: bytes | None = None) -> None:
        self._key, self._value = key, value

    def error(self) -> None:
        return None

    def topic(self) -> str:
        return "decisions"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 0

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> None:
        return None


def settle(host: Any) -> None:
    """Wait until the host has done what it has in hand."""
    host._watch.stop()
    host._watch.join()


def taken(ownership: Ownership = Ownership.NEW) -> Taken:
    return Taken(Message(), 0, 0, ownership)


@pytest.fixture
def slow() -> Iterator[Slow]:
    made = Slow()
    yield made
    made.release.set()


@pytest.fixture
def host(slow: Slow) -> Iterator[Any]:
    """A host with one worker and without a broker."""
    made: Any = object.__new__(ToolHost)
    made._tools = {f"tool:slow/{t.name}": t for t in collect_tools(slow)}
    made._crew, made._watch = Crew("tool", 1), Crew("watch", 1)
    made._stop, made.tally, made._feed, made._app = threading.Event(), HostTally(), Feed(), "slow"
    made._outbox, made._connection = Sent(), SimpleNamespace(key=KeyPair.generate(), trusted=Trusting())
    made._guard = UNGUARDED
    made._bodies = BodyDesk(Bodies("127.0.0.1:1", tenant="slow"), made._connection.key)
    yield made
    slow.release.set()
    made._crew.stop()
    settle(made)


@pytest.fixture(scope="module")
def decision() -> Decision:
    [output] = Office.opened("host").call().of(topics.DECISIONS)
    return codec.decode_as(Decision, output.value or b"")


def call_of(decision: Decision, name: str, execute_before: int = LATER_MS) -> AdmittedCall:
    fields = {field: getattr(decision, field) for field in decision.__dataclass_fields__}
    asked = Decision(**{**fields, "resource": f"tool:slow/{name}", "execute_before": execute_before})
    return AdmittedCall(asked, b"leaf", {}, "bot")


def test_a_call_that_timed_out_in_the_queue_never_runs(host: Any, slow: Slow, decision: Decision) -> None:
    """Where no thread is free it is reported as failed, and the function is not called afterwards."""
    host._crew.submit(lambda: slow.release.wait(10))
    assert host._execute(call_of(decision, "effect")) == failed("TOO_LATE")

    slow.release.set()
    host._crew.stop()
    host._crew.join()

    assert slow.ran == []
    assert host.tally.executed == 0


def test_a_call_that_hangs_costs_the_next_one_nothing(host: Any, slow: Slow, decision: Decision) -> None:
    """Its thread is replaced; when it comes back there are as many as before."""
    for n in range(1, 4):
        assert host._execute(call_of(decision, "hang")).outcome == "unknown"
        assert host._crew.held == n
        assert host._execute(call_of(decision, "key")).outcome == "ok"
    slow.release.set()
    while host._crew.held:
        time.sleep(0.01)

    assert host._execute(call_of(decision, "key")).outcome == "ok"
    assert host._crew.is_whole
    assert len(host._crew._threads) == 1


def test_a_call_past_its_time_does_not_run(host: Any, slow: Slow, decision: Decision) -> None:
    """The time is looked at when it is the call's turn."""
    now_ms = time.time_ns() // 1_000_000

    assert host._execute(call_of(decision, "effect", now_ms)) == failed("TOO_LATE")
    assert slow.ran == []


def test_a_tools_own_timeout_is_its_failure(host: Any, decision: Decision) -> None:
    """Only the host's own waiting makes an outcome unknown."""
    assert host._execute(call_of(decision, "upstream")) == failed("TimeoutError: the bank did not answer")


@pytest.mark.parametrize("name", ["key", "key_later"])
def test_a_tool_sees_the_key_of_its_call(host: Any, decision: Decision, name: str) -> None:
    """It is the digest of the caller's event, also in a coroutine; outside of calls there is none."""
    assert host._execute(call_of(decision, name)) == Ended("ok", json.dumps(decision.event.hex()))
    with pytest.raises(LookupError, match="no tool call"):
        idempotency_key()


@pytest.mark.parametrize(
    ("name", "ownership", "first", "becomes"),
    [
        ("effect", Ownership.NEW, None, "executed"),
        ("effect", Ownership.NEW, b"leaf", "executed before"),
        ("effect", Ownership.NEW, b"other", "second decision"),
        ("effect", Ownership.AGAIN, None, "executed before"),
        ("effect", Ownership.AGAIN, b"leaf", "executed before"),
        ("effect", Ownership.PAST, None, "nothing"),
        ("key", Ownership.NEW, None, "executed"),
        ("key", Ownership.NEW, b"leaf", "executed before"),
        ("key", Ownership.NEW, b"other", "second decision"),
        ("key", Ownership.AGAIN, None, "executed again"),
        ("key", Ownership.AGAIN, b"leaf", "executed again"),
        ("key", Ownership.AGAIN, b"other", "second decision"),
        ("key", Ownership.PAST, b"leaf", "nothing"),
    ],
)
def test_what_becomes_of_a_call(
    host: Any, decision: Decision, name: str, ownership: Ownership, first: bytes | None, becomes: str
) -> None:
    """By what it is to this instance, and under which decision its event stood in the durable set before."""
    call = call_of(decision, name)
    host._admit = lambda _message: call
    host._begin = lambda orders: [first] * len(orders)
    with mock.patch.object(tool_host, "recall", return_value=(call.decision, call.leaf)):
        host._serve([taken(ownership)])
    settle(host)

    ran = becomes in {"executed", "executed again"}
    assert host.tally.executed == ran
    assert host.tally.redelivered == (becomes == "executed again")
    assert host.tally.refused == ({} if ran or becomes == "nothing" else {becomes: 1})
    assert [report.outcome for report in host._outbox.reports] == ["ok"] * ran + ["failed"] * (
        becomes == "second decision"
    )
    assert len(host._feed.ended) == (becomes != "nothing")


@pytest.mark.parametrize(
    ("ownership", "reports"), [(Ownership.NEW, [("failed", '{"error":"TOO_LATE"}')]), (Ownership.AGAIN, [])]
)
def test_a_call_that_came_too_late_is_told_so(
    host: Any, decision: Decision, ownership: Ownership, reports: Any
) -> None:
    """It did not run, and nobody else runs it. One that was begun elsewhere may have run: that is not known."""
    host._admit = lambda _message: replace(call_of(decision, "key"), late=True)
    host._begin = lambda _orders: [None if ownership is Ownership.NEW else b"leaf"]
    host._serve([taken(ownership)])
    settle(host)

    assert [(one.outcome, one.body) for one in host._outbox.reports] == reports
    assert (host.tally.executed, host.tally.refused) == (0, {"too late": 1})
    assert len(host._feed.ended) == 1


class Forbidding:
    """An owner's policy that forbids every call, or that breaks."""

    def __init__(self, end: Ended | Exception) -> None:
        self._end = end

    def refusal(self, _call: AdmittedCall, _now_ms: int) -> Ended:
        if isinstance(self._end, Exception):
            raise self._end
        return self._end


@pytest.mark.parametrize(
    ("ownership", "reports"),
    [
        (Ownership.NEW, [("failed", '{"error":"OWNER_DENIED"}')]),
        (Ownership.AGAIN, [("unknown", '{"error":"OWNER_DENIED"}')]),
    ],
)
def test_a_call_that_the_owner_forbids_does_not_run(
    host: Any, slow: Slow, decision: Decision, ownership: Ownership, reports: Any
) -> None:
    """One that was begun elsewhere may have run there, under another file: that is not known."""
    host._guard = HostGuard(policy=Forbidding(failed("OWNER_DENIED")))  # type: ignore[arg-type]
    host._admit = lambda _message: call_of(decision, "key")
    host._begin = lambda _orders: [None if ownership is Ownership.NEW else b"leaf"]
    host._serve([taken(ownership)])
    settle(host)

    assert [(one.outcome, one.body) for one in host._outbox.reports] == reports
    assert (host.tally.executed, host.tally.refused) == (0, {"forbidden by the owner": 1})
    assert len(host._feed.ended) == 1


def test_a_check_of_the_owner_that_breaks_forbids_the_call(host: Any, slow: Slow, decision: Decision) -> None:
    host._guard = HostGuard(policy=Forbidding(RuntimeError("no zone")))  # type: ignore[arg-type]

    assert host._execute(call_of(decision, "effect")) == failed("NOT_RUN: RuntimeError: no zone")
    assert (slow.ran, host.tally.executed) == ([], 0)


def test_a_registry_that_cannot_be_read_commits_nothing(
    host: Any, decision: Decision, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A good call before the failing one waits too: neither noted, committed nor executed."""
    monkeypatch.setattr(tool_host, "REGISTRY_PAUSE_SECONDS", 0)
    found: list[Any] = [call_of(decision, "effect"), RegistryError("gone")]

    def admit(_message: Any) -> Any:
        if isinstance(found[0], RegistryError):
            raise found[0]
        return found.pop(0)

    host._admit = admit
    host._begin = lambda _orders: pytest.fail("noted")
    host._serve([taken(), taken()])

    assert (host._feed.commits, host._feed.went_back) == (0, 1)


def test_a_second_decision_neither_blocks_nor_breaks_the_loop(host: Any, decision: Decision) -> None:
    """Its report is made elsewhere, and may fail."""
    call = call_of(decision, "effect")
    asked, go_on = threading.Event(), threading.Event()

    class Failing(Sent):
        def send(self, _event: bytes, _report: ResultReported) -> bool:
            asked.set()
            go_on.wait(10)
            raise OSError("no disk")

    host._outbox = Failing()
    host._admit = lambda _message: call
    host._begin = lambda _orders: [b"another"]
    host._serve([taken()])  # returns although the report is not published

    assert asked.wait(PATIENCE_SECONDS)
    go_on.set()
    settle(host)
    assert host.tally.refused == {"second decision": 1}
