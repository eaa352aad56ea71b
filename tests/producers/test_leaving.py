"""Callers that leave a call without its answer, on a real broker: what is wanted is fetched, what is not never runs."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer

from macaw.installation.tenancy import publish_policies, register_agent
from producers.client import (
    AlreadyCalledError,
    AsyncClient,
    Client,
    DeniedError,
    FailedError,
    NoAnswerError,
    UnknownOutcomeError,
    kept_calls,
)
from producers.client.kept_calls import WaitingCallError
from producers.home.home import Home
from producers.kafka.consuming import watermarks
from producers.tools import collect_tools, tool
from producers.tools.registration import register_tool
from schemas.topics import INTAKE
from streams.local.choose import BrokerInfo
from tests.installation import Installation, installed
from tests.producers.session_place import is_open
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.broker

ROOT = Path(__file__).parents[2]
PAY = "tool:bank/pay"


class Bank:
    """A tool that need not run when it is called; `slow` runs until it is let go."""

    def __init__(self) -> None:
        self.paid: list[float] = []
        self.go = threading.Event()

    @tool(timeout_seconds=5)
    def pay(self, amount: float) -> dict[str, object]:
        self.paid.append(amount)
        return {"paid": amount}

    @tool(timeout_seconds=30)
    def slow(self, amount: float) -> dict[str, object]:
        self.go.wait(25)
        self.paid.append(amount)
        return {"paid": amount}


@pytest.fixture(scope="module")
def running(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A tenant whose bank is registered, and does not run."""
    with installed(broker, tmp_path_factory.mktemp("home"), f"l{secrets.token_hex(4)}") as here:
        register_agent(here.home, here.folder, "payer", attributes={})
        publish_policies(here.home, here.folder, [json.dumps({"policy_id": "agent:payer", "resources": ["**"]})], {})
        register_tool(here.home, here.folder, "bank", collect_tools(Bank()))
        yield here


@pytest.fixture
def client(running: Installation) -> Iterator[Client]:
    with Client.connect(running.folder.tenant, "payer", home=running.home) as connected:
        yield connected


def resumed(here: Installation, event_id: str, seconds: float = PATIENCE_SECONDS) -> object:
    return Client.resume(here.folder.tenant, event_id, home=here.home, seconds=seconds)


def test_a_call_that_was_given_up_does_not_run_when_its_tool_is_back(running: Installation, client: Client) -> None:
    """The caller asks again meanwhile, and pays once; the first call's end can be fetched too."""
    with pytest.raises(NoAnswerError, match="one idempotency key") as gone:
        client.invoke(PAY, {"amount": 1}, seconds=1)
    bank = Bank()
    with running.hosting("bank", bank):
        assert client.invoke(PAY, {"amount": 1}, seconds=PATIENCE_SECONDS) == {"paid": 1}
        with pytest.raises((UnknownOutcomeError, FailedError), match=r"NO_REPORT|TOO_LATE"):
            resumed(running, gone.value.event_id)

    assert bank.paid == [1]
    assert gone.value.event_id in str(gone.value)
    with pytest.raises(WaitingCallError, match="no call"):
        resumed(running, gone.value.event_id)


def test_a_call_that_is_begun_without_an_end_runs_later_and_its_result_is_fetched(
    running: Installation, client: Client
) -> None:
    """Who wants it at any time says so, and may go away."""
    call = client.begin(PAY, {"amount": 2})
    with pytest.raises(NoAnswerError) as gone:
        call.first(1)
    assert gone.value.call is not None
    assert [one.event_id for one in client.left] == [gone.value.event_id] == [call.event_id]
    folder = running.folder.path / kept_calls.FOLDER
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    with running.hosting("bank", bank := Bank()):
        assert resumed(running, call.event_id) == {"paid": 2}
    assert bank.paid == [2]


def test_a_deadline_is_over_for_good(running: Installation, client: Client) -> None:
    """Also where the caller waits much longer than that."""
    call = client.begin(PAY, {"amount": 3}, deadline=0.5)
    time.sleep(1)
    with (
        running.hosting("bank", bank := Bank()),
        pytest.raises((UnknownOutcomeError, FailedError), match=r"NO_REPORT|TOO_LATE"),
    ):
        client.finish(call, seconds=PATIENCE_SECONDS)
    assert bank.paid == []


def test_a_key_executes_once_and_names_the_first_call(running: Installation, client: Client) -> None:
    """While it runs, after it has, from another client; the first one's result can still be fetched."""
    how = {"idempotency_key": f"rent {secrets.token_hex(4)}"}
    with running.hosting("bank", bank := Bank()):
        first = client.begin("tool:bank/slow", {"amount": 4}, **how)
        with pytest.raises(NoAnswerError):
            first.first(1)
        with pytest.raises(AlreadyCalledError) as running_still:
            client.invoke("tool:bank/slow", {"amount": 4}, **how)
        bank.go.set()
        assert resumed(running, first.event_id) == {"paid": 4}
        with (
            Client.connect(running.folder.tenant, "payer", home=running.home) as other,
            pytest.raises(AlreadyCalledError) as over,
        ):
            other.invoke("tool:bank/slow", {"amount": 4}, **how)
        with pytest.raises(DeniedError, match="IDEMPOTENCY_CONFLICT"):
            client.invoke("tool:bank/slow", {"amount": 5}, **how)

    assert [(one.value.event_id, one.value.outcome) for one in (running_still, over)] == [
        (first.event_id, "allowed"),
        (first.event_id, "ok"),
    ]
    assert bank.paid == [4]


def test_tasks_that_are_cancelled_leave_their_calls(running: Installation) -> None:
    """Which is how asyncio gives up: the time-out does not know of the call, the client does."""
    tenant, home = running.folder.tenant, running.home

    async def ask() -> list[str]:
        async with await AsyncClient.connect(tenant, "payer", home=home) as client:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.invoke(PAY, {"amount": 6}), 1)
            return [one.event_id for one in client.left]

    [event_id] = asyncio.run(ask())
    with running.hosting("bank", bank := Bank()):
        assert asyncio.run(AsyncClient.resume(tenant, event_id, home=home, seconds=PATIENCE_SECONDS)) == {"paid": 6}
    assert bank.paid == [6]


def test_closing_tells_who_waits_and_leaves_the_call(running: Installation) -> None:
    """In another thread, and with the future of `submit`."""
    client = Client.connect(running.folder.tenant, "payer", home=running.home)
    told: list[BaseException] = []

    def wait() -> None:
        try:
            client.invoke(PAY, {"amount": 7})
        except NoAnswerError as exc:
            told.append(exc)

    waiter = threading.Thread(target=wait)
    waiter.start()
    future = client.submit(PAY, {"amount": 8})
    wait_until(lambda: len([one for one in client._calls if one.sent.event]) == 2, "two calls that were sent")
    client.close()
    waiter.join(PATIENCE_SECONDS)

    assert isinstance(future.exception(PATIENCE_SECONDS), NoAnswerError)
    assert [type(one) for one in told] == [NoAnswerError]
    assert len(client.left) == 2
    with running.hosting("bank", bank := Bank()):
        assert sorted(resumed(running, one.event_id)["paid"] for one in client.left) == [7, 8]  # type: ignore[index]
    assert sorted(bank.paid) == [7, 8]


def test_a_call_that_cannot_be_written_down_says_so_and_is_waited_for(running: Installation, tmp_path: Path) -> None:
    """A full disk, or a folder that is none: the event is named, and nobody is told to resume what is not there."""
    folder = running.folder
    shutil.copytree(folder.path, tmp_path / ".macaw" / "tenants" / folder.tenant, ignore=lambda *_: {kept_calls.FOLDER})
    home = Home.create(tmp_path, {"bootstrap": running.home.bootstrap, "deployment": "test"})
    (home.tenant(folder.tenant).path / kept_calls.FOLDER).write_text("not a folder")
    with Client.connect(folder.tenant, "payer", home=home) as client:
        call = client.begin(PAY, {"amount": 30})
        with pytest.raises(NoAnswerError, match="could not be written down") as gone:
            call.first(1)
        assert (gone.value.call, client.left) == (None, [])
        assert gone.value.event_id == call.event_id
        assert call.event_id in str(gone.value)
        assert "--resume" not in str(gone.value)
        with running.hosting("bank", Bank()):
            assert client.invoke(PAY, {"amount": 31}, seconds=PATIENCE_SECONDS) == {"paid": 31}


@pytest.mark.parametrize(
    "how",
    [
        {"idempotency_key": ""},
        {"idempotency_key": "k" * 129},
        {"idempotency_key": "\ud800"},
        {"deadline": 0},
        {"deadline": -1},
        {"deadline": float("nan")},
        {"deadline": float("inf")},
        {"seconds": float("nan")},
    ],
)
def test_wishes_that_are_none_are_refused_before_anything_is_sent(client: Client, how: dict[str, Any]) -> None:
    """Each is the caller's own mistake."""
    with pytest.raises(ValueError, match=r"must|NaN"):
        client.invoke(PAY, {"amount": 40}, **how)
    with pytest.raises(TypeError):
        client.invoke(PAY, {"amount": 40}, timeout=3)  # type: ignore[call-arg]
    assert client._calls == set()


def test_a_caller_whose_clock_is_slow_is_not_denied_for_it(client: Client) -> None:
    """What the log's answers say of its time counts, not what stands on the wall."""
    client._connection.clock._ahead_ms = 0
    client._connection.clock.note(0, 120_000, 100)
    body, _ = client._prepare(PAY, {}, 2, None)
    assert body.begin_by is not None
    assert 121_000 <= body.begin_by - time.time_ns() // 1_000_000 <= 122_000


def lives(here: Installation, session: bytes) -> bool:
    with Client.connect(here.folder.tenant, "payer", home=here.home) as looking:
        return is_open(here, looking, session)


def test_leaving_a_client_ends_its_session_unless_a_call_is_left(running: Installation) -> None:
    """Then whoever fetches the last result ends it."""
    tenant, home = running.folder.tenant, running.home
    with Client.connect(tenant, "payer", home=home) as first:
        pass
    wait_until(lambda: not lives(running, first.session_id), "the session has not ended", pause=0.05)

    with Client.connect(tenant, "payer", home=home) as second:
        calls = [second.begin(PAY, {"amount": n}) for n in (10, 11)]
        for call in calls:
            with pytest.raises(NoAnswerError):
                call.first(1)
    with running.hosting("bank", Bank()):
        resumed(running, calls[0].event_id)
        assert lives(running, second.session_id)
        resumed(running, calls[1].event_id)
    wait_until(lambda: not lives(running, second.session_id), "the session has not ended", pause=0.05)


def test_who_comes_back_does_not_end_a_session_that_is_in_use(running: Installation, client: Client) -> None:
    """Its client is there still."""
    call = client.begin(PAY, {"amount": 12})
    with pytest.raises(NoAnswerError):
        call.first(1)
    with running.hosting("bank", Bank()):
        resumed(running, call.event_id)
        assert client.invoke(PAY, {"amount": 13}, seconds=PATIENCE_SECONDS) == {"paid": 13}


def intake_end(here: Installation) -> int:
    consumer = Consumer({"bootstrap.servers": here.home.bootstrap, "group.id": "looks"})
    try:
        return watermarks(consumer, INTAKE.of(here.folder.tenant))[1]
    finally:
        consumer.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_command_says_how_to_come_back(running: Installation, number: int) -> None:
    """Its last line names the call, and the next command fetches what became of it."""
    environment = {**os.environ, "MACAW_HOME": str(running.home.path.parent), "PYTHONPATH": str(ROOT)}
    macaw = [sys.executable, "-m", "macaw.cli", "invoke", "-t", running.folder.tenant]
    before = {path.name for path in (running.folder.path / kept_calls.FOLDER).glob("*.json")}
    began = intake_end(running)
    asked = subprocess.Popen(
        [*macaw, PAY, "--as", "payer", "--params", '{"amount": 20}'],
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: intake_end(running) == began + 2, "two records", pause=0.05)  # its session, and its call
    asked.send_signal(number)
    _, said = asked.communicate(timeout=PATIENCE_SECONDS)
    assert asked.returncode == 130, said
    [kept] = {path.name for path in (running.folder.path / kept_calls.FOLDER).glob("*.json")} - before
    event_id = kept.removesuffix(".json")
    assert f"macaw invoke --resume {event_id}" in said
    with running.hosting("bank", Bank()):
        back = subprocess.run(
            [*macaw, "--resume", event_id], env=environment, capture_output=True, text=True, check=False
        )
    assert (back.stdout, back.returncode) == ('{"paid": 20}\n', 0), back.stderr


def test_a_result_that_could_not_be_given_out_is_still_there(running: Installation, client: Client) -> None:
    """As on a full disk: the effect is there, and nobody would learn of it. What `resume` could not give stays too."""

    def fails(_: object) -> None:
        raise OSError("no space left")

    tenant = running.folder.tenant
    with running.hosting("bank", bank := Bank()):
        with pytest.raises(OSError, match="no space left"):
            client.finish(client.begin(PAY, {"amount": 9}), seconds=PATIENCE_SECONDS, give=fails)
        [left] = client.left
        with pytest.raises(OSError, match="no space left"):
            Client.resume(tenant, left.event_id, home=running.home, seconds=PATIENCE_SECONDS, give=fails)
        given: list[object] = []
        told = Client.resume(tenant, left.event_id, home=running.home, seconds=PATIENCE_SECONDS, give=given.append)

    assert given == [told] == [{"paid": 9}]
    assert bank.paid == [9]
    with pytest.raises(WaitingCallError, match="no call"):
        resumed(running, left.event_id)
