"""Instances of a tool die, are stopped, lose partitions and are lied to: a call runs at most once, and is answered."""

from __future__ import annotations

import json
import secrets
import signal
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from processors.effects import output_place
from processors.proof import signing
from processors.proof.sealing import PAYLOAD_HEADER
from processors.proof.signing import KID_HEADER, PROOF_HEADER
from producers.kafka.consuming import headers_of, read_to, watermarks
from schemas import codec
from schemas.records import Decision, Event, ResultReported
from schemas.topics import DECISIONS, INTAKE, KEYED_PARTITIONS, tool_group
from streams.local.choose import BrokerInfo
from tests.producers.host_faults import POINTS, WAVE, Death, Stage, Tally, Trial
from tests.producers.host_main import Point
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = [
    pytest.mark.broker,
    pytest.mark.real_broker("groups, generations and fenced commits are Apache Kafka's"),
]

COSTLY = {Point.BEFORE_NOTE, Point.BEFORE_EXECUTE, Point.IN_EXECUTE, Point.BEFORE_REPORT}


@pytest.fixture(scope="module")
def stage(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The stage; none where the marker is about to skip each test, and to count that."""
    if not broker.is_real:
        yield None
        return
    with Stage(broker, tmp_path_factory.mktemp("home"), f"t{secrets.token_hex(4)}") as made:
        yield made


@pytest.fixture(scope="module")
def tallies(stage: Stage | None) -> dict[Point, Tally]:
    """One death at each point, all at the same time; every other victim is started again."""
    if stage is None:
        return {}
    deaths = [
        Death(
            stage.trial(f"till-{n}", instances=3 if point is Point.IN_REBALANCE else 2),
            point,
            skip=0,
            survivors=1,
            restarts=n % 2 == 0,
        )
        for n, point in enumerate(POINTS)
    ]
    for death in deaths:
        death.begin()
    with ThreadPoolExecutor(len(deaths)) as pool:
        list(pool.map(Death.play, deaths))
    return {death.point: death.tally() for death in deaths}


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_instance_costs_no_second_execution_and_no_silence(tallies: dict[Point, Tally], point: Point) -> None:
    """What its death may cost: payments end as unknown. What is idempotent is executed again, with the same key."""
    tally = tallies[point]

    assert (tally.executed_twice, tally.silent, tally.lost) == (0, 0, 0), tally
    if point in COSTLY:
        assert tally.unknown > 0, "nothing was under way when it died"
        assert tally.redelivered > 0, "nothing was under way when it died"


@pytest.mark.parametrize("forgetful", [False, True])
def test_records_of_a_revoked_partition_are_not_executed_by_both(stage: Stage, *, forgetful: bool) -> None:
    """A rebalance inside a read. An instance that took no note of it would execute what the other one does."""
    trial = stage.trial("moved-forgetful" if forgetful else "moved")
    trial.go_path.write_text(str(3 * WAVE))
    first = trial.host(0, Point.HELD, forgetful=forgetful)
    first.await_word("assigned")
    trial.call(3 * WAVE)
    first.await_word("holding")
    second = trial.host(1)
    second.await_word("assigned")
    await_quiet(trial)
    trial.go_path.unlink()

    assert trial.settle() == 0
    first.stop()
    second.stop()

    tally = trial.tally(Point.HELD)
    assert (tally.silent, tally.lost, tally.unknown) == (0, 0, 0)
    assert (tally.executed_twice > 0) is forgetful
    assert {effect["instance"] for effect in trial.effects()} == {0, 1}


def await_quiet(trial: Trial) -> None:
    """Wait until there are effects, and none has come for a second."""
    seen, since = 0, time.monotonic()

    def quiet() -> bool:
        nonlocal seen, since
        if len(trial.effects()) != seen:
            seen, since = len(trial.effects()), time.monotonic()
        return seen > 0 and time.monotonic() - since > 1

    wait_until(quiet, lambda: f"{seen} effects")


def test_an_instance_that_is_no_member_any_more_executes_nothing(stage: Stage) -> None:
    """It held calls before their commit; another one executed them and left, so that the group was empty.

    An empty group takes commits from whoever never was a member, but not from one that was.
    """
    points = (Point.STOPPED, Point.REMOVED)
    trials = {point: stage.trial(point.name.lower()) for point in points}
    out = {point: trials[point].host(0, point) for point in points}
    for point, trial in trials.items():
        trial.go_path.touch()
        out[point].await_word("assigned")
        trial.call(WAVE)
        out[point].await_word("paused")
    remove_members(stage, tool_group(stage.here.folder.tenant, trials[Point.REMOVED].app))
    out[Point.REMOVED].await_word("excluded")
    for trial in trials.values():
        other = trial.host(1)
        assert trial.settle() == 0
        other.stop()
    out[Point.STOPPED].send(signal.SIGCONT)
    for point, host in out.items():
        host.await_word("excluded")
        trials[point].go_path.unlink()
        host.await_word("assigned", times=2)
        host.stop()

        assert "UNKNOWN_MEMBER_ID" in host.log()
        assert trials[point].tally(point) == Tally(point, len(trials[point].calls), 0, 0, 0)


def remove_members(stage: Stage, group: str) -> None:
    """Have the broker put every member out of a group, as an operator can: LeaveGroup, version 3, in their names."""
    bootstrap = stage.here.home.bootstrap
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    members = admin.describe_consumer_groups([group])[group].result().members
    names = b"".join(text(member.member_id) + b"\xff\xff" for member in members)
    request = struct.pack(">hhi", 13, 3, 1) + text("test") + text(group) + struct.pack(">i", len(members)) + names
    host, _, port = bootstrap.partition(":")
    with socket.create_connection((host, int(port)), 10) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        answer = connection.recv(14, socket.MSG_WAITALL)
    assert struct.unpack(">iiih", answer)[3] == 0


def text(value: str) -> bytes:
    return struct.pack(">h", len(value)) + value.encode()


def test_a_second_decision_is_refused_by_whoever_reads_it(stage: Stage) -> None:
    """The monitor's key signs two more decisions for each call: no further effect, and each refusal names both."""
    trial = stage.trial("lied-to")
    first = trial.host(0)
    first.await_word("assigned")
    trial.call(WAVE)
    assert trial.settle() == 0
    forged = forge(stage, trial, later_ms=1)
    await_refusals(stage, forged)
    first.stop()
    second = trial.host(1)
    second.await_word("assigned")
    forged |= forge(stage, trial, later_ms=2)
    await_refusals(stage, forged)
    second.stop()

    assert len(forged) == 2 * WAVE
    assert sorted(effect["n"] for effect in trial.effects()) == list(range(WAVE))
    for host in (first, second):
        assert json.dumps({"second decision": WAVE}) in host.log()


def forge(stage: Stage, trial: Trial, *, later_ms: int) -> dict[bytes, bytes]:
    """Append another decision for each call of a tool; return the leaf of the first one by the leaf of the other."""
    here = stage.here
    monitor = here.folder.key("monitor")
    producer = Producer({"bootstrap.servers": here.home.bootstrap, "log_level": 0})
    firsts = {}
    events = {future.result().result.event: future.result().result.decision for _, _, future in trial.calls}
    for message in read_all(stage, DECISIONS.of(here.folder.tenant), KEYED_PARTITIONS):
        decision: Decision = codec.decode_as(Decision, message.value())
        place = output_place(
            signing.DECISION_TAG, here.folder.genesis, message.topic(), message.partition(), "Decision"
        )
        leaf = place.leaf(codec.encode(decision))
        if events.get(decision.event) != leaf:
            continue
        other = replace(
            decision,
            decided_at=decision.decided_at + later_ms,
            execute_before=time.time_ns() // 1_000_000 + 50_000,
        )
        other_leaf = place.leaf(codec.encode(other))
        [proof] = monitor.signing.sign_leaves([other_leaf])
        sealed = [(n, v) for n, v in headers_of(message) if n == PAYLOAD_HEADER]
        producer.produce(
            message.topic(),
            codec.frame(other),
            key=message.key(),
            partition=message.partition(),
            headers=[*sealed, (PROOF_HEADER, proof), (KID_HEADER, monitor.kid)],
        )
        firsts[other_leaf] = leaf
    assert producer.flush(PATIENCE_SECONDS) == 0
    assert len(firsts) == len(trial.calls)
    return firsts


def read_all(stage: Stage, topic: str, partitions: int) -> list[Any]:
    """Return everything that stands on a topic now."""
    consumer = Consumer(
        {
            "bootstrap.servers": stage.here.home.bootstrap,
            "group.id": f"{stage.here.folder.tenant}.look",
            "enable.partition.eof": True,
            "log_level": 0,
        }
    )
    found = []
    for partition in range(partitions):
        _, end = watermarks(consumer, topic, partition)
        found += list(read_to(consumer, TopicPartition(topic, partition, 0), end, idle_seconds=10))
    consumer.close()
    return found


def await_refusals(stage: Stage, forged: dict[bytes, bytes]) -> None:
    """Wait until the log holds a report for each forged decision, signed by the tool's live key, naming the first."""

    def reported() -> dict[bytes, bytes]:
        trusted, found = stage.client._connection.trusted, {}
        for message in read_all(stage, INTAKE.of(stage.here.folder.tenant), 1):
            headers = dict(headers_of(message))
            event: Event = codec.decode_as(Event, message.value())
            if isinstance(event.body, ResultReported) and "SECOND_DECISION" in event.body.body:
                kid = headers[KID_HEADER] or b""
                key = trusted.registry.live_key(kid, "tool")
                assert key is not None
                trusted.verify_event(message.value(), headers[PROOF_HEADER] or b"", kid, key.ed25519)
                found[event.body.decision] = bytes.fromhex(json.loads(event.body.body)["first"])
        return found

    wait_until(lambda: forged.items() <= reported().items(), lambda: f"{len(reported())} of {len(forged)} are reported")
