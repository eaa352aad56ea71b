"""Clients of one process share threads and connections, and neither answers nor ends."""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from producers.client import Client, LogSetBackError, NoAnswerError, PublishError
from producers.home.home import Home
from producers.home.keys import KeyPair
from producers.kafka import link as linking
from producers.kafka.answers import AnswersEndedError
from producers.kafka.connection import Connection
from producers.kafka.followed_topic import FollowedTopic
from producers.kafka.link import TenantLink
from schemas import topics
from schemas.events.workflow import StateQueried
from streams.local.choose import BrokerInfo
from tests.installation import Installation
from tests.producers.crowd import Office, ask, desk_of
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.broker

ROOT = Path(__file__).parents[2]
THREADS_MAX, RSS_MB_MAX = 20, 150
HELD = ("tool:office/held", {"user": "desk"})


@pytest.fixture(scope="module")
def office() -> Office:
    return Office()


@pytest.fixture(scope="module")
def running(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory, office: Office) -> Iterator[Installation]:
    with desk_of(broker, tmp_path_factory.mktemp("home"), f"s{secrets.token_hex(4)}", office) as here:
        yield here


def connected(running: Installation, name: str = "desk") -> Client:
    return Client.connect(running.folder.tenant, name, home=running.home)


# ---- what a hundred clients take

HUNDRED = """
import json, sys
from producers.client import Client
from producers.kafka import followed_topic, intake

def status(name):
    return int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1])

sent, asked, warm_ups = [], [], []
draft, bounds = intake.Intake._draft, followed_topic.watermarks
warm_up = intake.Sender.warm_up
intake.Intake._draft = lambda self, one: (sent.append(type(one.body).__name__), draft(self, one))[1]
intake.Sender.warm_up = lambda self: (warm_ups.append(1), warm_up(self))[1]
followed_topic.watermarks = lambda consumer, *of: (asked.append(of[0].split(".")[-1]), bounds(consumer, *of))[1]

tenant, first = sys.argv[1], Client.connect(sys.argv[1], "desk")
of_first = sent[:] + [one for one in asked if one == "results"]
followed_topic.FRESH_SECONDS = 600  # else the registry is read on after two seconds, for all clients together
del sent[:], asked[:]
clients = [Client.connect(tenant, "desk") for _ in range(99)]
told = {"sent": sent[:], "asked": asked[:], "warm_ups": len(warm_ups), "first": of_first}
told |= {"threads": status("Threads"), "rss_mb": status("VmRSS") / 1000}
waiting = [one.submit("tool:office/whose", {"user": str(n)}) for n, one in enumerate(clients)]
told["answers"] = [json.loads(one.result(300).body)["user"] for one in waiting]
for one in clients[1:]:
    one.close()
told["after"] = first.invoke("tool:office/whose", {"user": "first"})
clients[0].close()
first.close()
told["left"] = status("Threads")
print(json.dumps(told))
"""


def test_a_hundred_clients_take_few_threads_little_memory_and_one_round_trip_each(running: Installation) -> None:
    """A further client sends the opening of its session, and asks the brokers nothing else."""
    environment = {**os.environ, "MACAW_HOME": str(running.home.path.parent), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", "-c", HUNDRED, running.folder.tenant]
    run = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)

    assert told["threads"] <= THREADS_MAX, told["threads"]
    assert told["rss_mb"] <= RSS_MB_MAX, told["rss_mb"]
    assert told["first"] == ["SessionOpened", "results"]
    assert told["sent"] == ["SessionOpened"] * 99
    assert (told["asked"], told["warm_ups"]) == ([], 1)
    assert told["answers"] == [str(n) for n in range(99)]
    assert told["after"] == {"user": "first"}
    assert told["left"] < told["threads"]


def test_a_key_from_elsewhere_costs_one_question_where_its_partition_is_not_heard(
    running: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person's, say. The keys of sessions that are made here come on a partition that is heard."""
    asked, end_of = list[int](), FollowedTopic.ends

    def noting(topic: FollowedTopic, name: str, partition: int) -> tuple[int, int]:
        asked.append(partition)
        return end_of(topic, name, partition)

    monkeypatch.setattr(FollowedTopic, "ends", noting)
    home = alone(running, "keys")
    with Client.connect(running.folder.tenant, "desk", home=home) as client:
        [heard] = client.connection.link.hearing.reached()
        assert {topics.keyed_partition(client.connection.link.session_key().kid) for _ in range(20)} == {heard}
        keys = [KeyPair.generate() for _ in range(40)]
        made = [Connection(home, running.folder, key, "desk", is_session=True) for key in keys]
        assert sorted(asked) == list(range(topics.RESULTS.partitions))
        for one in made:
            one.close()
        assert client.connection.link.hearing.reached().keys() == {heard}


# ---- ends


def test_a_client_that_closes_takes_nothing_from_the_others(running: Installation, office: Office) -> None:
    """Neither their calls under way nor the link; its own waiting ends, in every way of waiting."""
    office.gate.clear()
    home = alone(running, "closing")  # the host is not in the link
    stays, goes = (Client.connect(running.folder.tenant, "desk", home=home) for _ in range(2))
    kept = stays.submit(*HELD)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(goes.invoke, *HELD)
        wait_until(lambda: goes.connection.answers.is_waiting)
        leaf = b"x" * 32
        asked = goes.connection.answers.expect(leaf)
        goes.close()
        with pytest.raises(NoAnswerError, match="the client was closed while the call was waited for"):
            call.result(PATIENCE_SECONDS)
    assert isinstance(asked.exception(PATIENCE_SECONDS), AnswersEndedError)
    assert not kept.done()
    with pytest.raises(PublishError, match="the connection is closed"):
        goes.invoke(*HELD)
    office.gate.set()

    assert json.loads(kept.result(PATIENCE_SECONDS).body or "") == "desk"
    link = stays.connection.link
    stays.close()
    assert not link.intake.is_running
    assert link not in linking._SHARED.links.values()


def test_clients_that_come_and_go_under_load_lose_nothing(running: Installation) -> None:
    """Every call is answered with its own result, while other clients open and close."""
    over = threading.Event()
    done = list[int]()

    def call(client: Client, number: int) -> None:
        while not over.is_set():
            calls = {f"{number}-{len(done)}-{n}": None for n in range(5)}
            futures = {one: client.submit(*ask(one)) for one in calls}
            for one, future in futures.items():
                assert json.loads(future.result(PATIENCE_SECONDS).body or "") == {"user": one}
            done.append(number)

    def come_and_go(name: str) -> None:
        for n in range(12):
            with connected(running, name) as client:
                assert client.invoke(*ask(f"{name}-{n}")) == {"user": f"{name}-{n}"}

    steady = [connected(running) for _ in range(3)]
    with ThreadPoolExecutor(5) as pool:
        calling = [pool.submit(call, one, n) for n, one in enumerate(steady)]
        passing = [pool.submit(come_and_go, name) for name in ("desk", "annex")]
        try:
            for one in passing:
                one.result(PATIENCE_SECONDS)
        finally:
            over.set()
        for one in calling:
            one.result(PATIENCE_SECONDS)
    assert set(done) == {0, 1, 2}
    for one in steady:
        assert one.connection.answers.dropped == 0
        one.close()


# ---- failures reach all, and the next client is a new beginning


def end_thread(thread: threading.Thread) -> None:
    """Raise SystemExit in a thread, until it ends: raised within a callback of the library, it does not end it."""
    for _ in range(30):
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit))
        thread.join(1)
        if not thread.is_alive():
            return
    raise AssertionError(f"{thread.name} did not end")


def fails(link: TenantLink, how: str) -> None:
    if how == "the thread that hears":
        end_thread(link.hearing._thread)
    elif how == "the thread that publishes":
        end_thread(link.intake._thread)
    elif how == "older answers":
        link.hearing.fail(LogSetBackError("older"))
    else:
        link.registry._topic._positions[0].offset += 10**6
        link.registry._topic._current_at = -1e9


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    "how", ["the thread that hears", "the thread that publishes", "older answers", "an older registry"]
)
def test_a_failure_reaches_every_waiter_of_every_client(running: Installation, office: Office, how: str) -> None:
    """At once, and clients that connect after it are well; those from before can be closed."""
    home = alone(running, how)
    office.gate.clear()
    clients = [Client.connect(running.folder.tenant, "desk", home=home) for _ in range(3)]
    link = clients[0].connection.link
    waiting: list[Future[object]] = [one.submit(*HELD) for one in clients]
    wait_until(lambda: all(one.connection.answers.is_waiting for one in clients))
    fails(link, how)
    office.gate.set()

    if how == "the thread that publishes":  # the answers to events that were sent are still heard
        for one in waiting:
            one.result(PATIENCE_SECONDS)
        waiting = []
    for one in waiting:
        assert isinstance(one.exception(PATIENCE_SECONDS), LogSetBackError | AnswersEndedError)
    for client in clients:
        with pytest.raises((LogSetBackError, PublishError, NoAnswerError)):
            client.invoke(*ask("desk"), seconds=PATIENCE_SECONDS)
    with Client.connect(running.folder.tenant, "desk", home=home) as new:
        assert new.connection.link is not link
        assert new.invoke(*ask("new")) == {"user": "new"}
        for client in clients:
            client.close()
        assert new.invoke(*ask("new")) == {"user": "new"}


def alone(running: Installation, how: str) -> Home:
    """Return the installation under another path: its clients share nothing with those of other tests, nor the host."""
    path = running.home.path.parent / how.replace(" ", "-")
    path.mkdir()
    for one in running.home.path.iterdir():
        (path / ".macaw").mkdir(exist_ok=True)
        (path / ".macaw" / one.name).symlink_to(one)
    return Home.open(path)


# ---- forks


def test_a_child_of_a_fork_has_no_link_and_no_lock_of_its_parent(running: Installation) -> None:
    """Another thread may hold the lock at that moment, and does not exist in the child."""
    with connected(running) as client, linking._SHARED.lock:
        child = os.fork()
        if child == 0:
            free = linking._SHARED.lock.acquire(timeout=5)
            os._exit(0 if free and not linking._SHARED.links and client.connection.link.is_elsewhere else 1)
        assert os.waitpid(child, 0)[1] == 0


# ---- one key in two connections


def test_two_connections_of_one_key_hear_their_own_answers(running: Installation) -> None:
    """An administrator's, say. Their events keep one order, although both number them at the same time."""
    key = running.folder.key("admin")
    with Connection(running.home, running.folder, key, "admin") as one:
        with Connection(running.home, running.folder, key, "admin") as other:
            sent = [
                by.send(StateQueried(what="delegations", argument="null")) for _ in range(30) for by in (one, other)
            ]
            answers = [each.answer.result(PATIENCE_SECONDS) for each in sent]
            assert [answer.result.event for answer in answers] == [each.event for each in sent]
            assert {answer.result.reason for answer in answers} <= {"QUERY_INVALID"}, answers[0]
        again = one.send(StateQueried(what="delegations", argument="null"))
        assert again.answer.result(PATIENCE_SECONDS).result.event == again.event
