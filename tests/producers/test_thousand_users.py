"""One service object serves a thousand persons at once, from threads and tasks: no identity crosses, and none stays."""

from __future__ import annotations

import asyncio
import gc
import secrets
import threading
import types
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from processors.proof import jcs
from producers.client import AsyncClient, BoundClient, Client, DeniedError
from producers.kafka.consuming import read_to, watermarks
from producers.kafka.link import TenantLink
from schemas import codec
from schemas.records import Decision, Event, InvocationRequested
from schemas.topics import DECISIONS, INTAKE, Topic
from schemas.words import Outcome
from streams.local.choose import BrokerInfo
from tests.installation import Installation
from tests.producers.crowd import ask, desk_of, people, policy_of, publish
from tests.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.broker

USERS = [f"u{n}" for n in range(1000)]
THREADS, TASKS = 8, 50
CROSSING = 25  # every so many'th user, a call names another user


@pytest.fixture(scope="module")
def running(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with desk_of(broker, tmp_path_factory.mktemp("home"), f"k{secrets.token_hex(4)}") as here:
        publish(here, [policy_of(user) for user in USERS])
        yield here


def other(user: str) -> str:
    """Return a user that is served at about the same time."""
    return USERS[int(user[1:]) ^ 1]


def is_crossing(user: str) -> bool:
    return int(user[1:]) % CROSSING == 0


def in_thread(bound: BoundClient, user: str) -> None:
    assert bound.invoke(*ask(user)) == {"user": user}
    if is_crossing(user):
        with pytest.raises(DeniedError) as denied:
            bound.invoke(*ask(other(user)))
        assert denied.value.reason == "PARAM_NOT_ALLOWED"


async def in_tasks(service: Client, persons: dict[str, Client], users: list[str]) -> None:
    agent, gate = AsyncClient(service), asyncio.Semaphore(TASKS)

    async def serve(user: str) -> None:
        async with gate, await agent.bind_to_user(persons[user]) as bound:
            assert await bound.invoke(*ask(user)) == {"user": user}
            if is_crossing(user):
                with pytest.raises(DeniedError):
                    await bound.invoke(*ask(other(user)))

    await asyncio.gather(*(serve(user) for user in users))


def test_a_thousand_users_of_one_service(running: Installation) -> None:
    """Half of them in threads, half in tasks, all through one client; each result, and each decision, is the user's."""
    persons = people(running, USERS)
    service = Client.connect(running.folder.tenant, "desk", home=running.home)
    assert {one.connection.link for one in (service, *persons.values())} == {service.connection.link}

    secret = served(service, persons)
    del persons
    assert names_in(service, secret) == []
    check_decisions(running)
    service.close()


def served(service: Client, persons: dict[str, Client]) -> set[bytes]:
    """Serve all of them, close their clients, and return their session ids and delegations."""
    with ThreadPoolExecutor(THREADS) as pool, ThreadPoolExecutor(1) as loop:
        tasks = loop.submit(asyncio.run, in_tasks(service, persons, USERS[1::2]))
        bound = dict(
            zip(USERS[::2], pool.map(lambda user: service.bind_to_user(persons[user]), USERS[::2]), strict=True)
        )
        list(pool.map(in_thread, bound.values(), bound))
        tasks.result(PATIENCE_SECONDS)
        assert all(one.is_bound for one in bound.values())
        list(pool.map(Client.close, persons.values()))  # each revokes its delegation
        assert not any(one.is_bound for one in bound.values())

    return {user.session_id for user in persons.values()} | {bytes.fromhex(one.delegation) for one in bound.values()}


# ---- what stays in the service's client


def names_in(service: Client, secret: set[bytes]) -> list[object]:
    """Return the names, session ids and delegations of users that can be reached from the service's client."""
    gc.collect()
    texts = {f"user:{user}" for user in USERS} | {one.hex() for one in secret}
    found, seen, todo = [], set[int](), [service]
    passed = (types.ModuleType, type, threading.Thread, types.FrameType)
    while todo:
        one: Any = todo.pop()
        if id(one) in seen or isinstance(one, passed):
            continue
        seen.add(id(one))
        if (isinstance(one, str) and one in texts) or (isinstance(one, bytes) and one in secret):
            found.append(one)
        held = [one.__closure__, one.__defaults__] if isinstance(one, types.FunctionType) else gc.get_referents(one)
        todo += [other for other in held if other is not None]
    assert any(isinstance(gone, TenantLink) for gone in gc.get_objects() if id(gone) in seen), "the link is looked at"
    return found


def test_the_search_finds_a_name_that_stays(running: Installation) -> None:
    """It would see a user's name, session or delegation in the client of the service."""
    with Client.connect(running.folder.tenant, "desk", home=running.home) as service:
        for stays in ("user:u7", bytes(32)):
            service.stays = {"deep": [stays]}  # type: ignore[attr-defined]
            assert names_in(service, {bytes(32)}) == [stays]
        service.stays = None  # type: ignore[attr-defined]
        assert names_in(service, {service.session_id}) != []


# ---- what the log says


def check_decisions(running: Installation) -> None:
    """Every allowed call names the user of its decision; every crossing was denied."""
    named: dict[bytes, str] = {}
    for value in records(running, INTAKE):
        event: Event = codec.decode_as(Event, value)
        if isinstance(event.body, InvocationRequested):
            named[event.header.event_id] = jcs.parse_strict(event.body.parameters.encode())["user"]
    told = Counter[tuple[str, bool]]()
    for value in records(running, DECISIONS):
        decision: Decision = codec.decode_as(Decision, value)
        person, service = decision.subjects
        assert service == "desk"
        assert decision.principal_id == "desk"
        told[decision.outcome, person == f"user:{named.pop(decision.event_id)}"] += 1
    crossing = len([user for user in USERS if is_crossing(user)])
    assert told == {(Outcome.ALLOWED, True): len(USERS), (Outcome.DENIED, False): crossing}
    assert named == {}


def records(running: Installation, topic: Topic) -> Iterator[bytes]:
    """Yield the values of a topic as it stands."""
    settings = {"bootstrap.servers": running.broker.bootstrap, "group.id": "none", "enable.auto.commit": False}
    consumer = Consumer({**settings, "enable.partition.eof": True, "isolation.level": "read_committed"})
    for partition in range(topic.partitions):
        low, end = watermarks(consumer, topic.of(running.folder.tenant), partition)
        place = TopicPartition(topic.of(running.folder.tenant), partition, low)
        for message in read_to(consumer, place, end, idle_seconds=PATIENCE_SECONDS):
            yield message.value() or b""
    consumer.close()
