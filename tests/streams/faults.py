"""The kinds of rounds: what is done to workers while records come in. Each is a plan drawn from its seed.

Keys and timing differ between two runs of one seed; who is struck where, and what follows, does not. Kinds that need a
broker of their own are in `faults_broker`.
"""

from __future__ import annotations

import signal
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from random import Random

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType
from confluent_kafka.admin._config import ConfigEntry, ConfigResource

from schemas.topics import DECISIONS, STATE
from streams.local.choose import BrokerInfo
from tests.streams.fault_main import FENCED
from tests.streams.fault_points import Action, Fault, Point
from tests.streams.fault_stage import RoundInvalidError, Stage, Worker
from tests.streams.fault_tally import Tally
from tests.streams.loop_workers import _state
from tests.streams.loop_world import Tenant
from tests.waiting import PATIENCE_SECONDS

Round = Callable[[Stage], None]

AROUND_COMMIT = (
    Point.AFTER_CONSUME,
    Point.BETWEEN_PRODUCES,
    Point.BEFORE_OFFSETS,
    Point.AFTER_OFFSETS,
    Point.BEFORE_COMMIT,
    Point.IN_COMMIT,
    Point.AFTER_COMMIT,
)
KILLED = {-signal.SIGKILL}
IN_COMMIT_MS_MAX = 12.0  # about twice as long as a commit takes
CLIENT_BYTES_MAX = 3000
INTRUDER_TIMEOUT_MS = 300_000  # its transaction must be open until all is folded, on a busy machine too
TOPIC_BYTES_MAX = 150_000  # one batch of ordinary decisions is below


def play(kind: str, seed: int, broker: BrokerInfo, base: Path, rounds: Mapping[str, Round] | None = None) -> Tally:
    """Play one round in a new folder under `base`, which stays unless the round is whole, and return its tally.

    Whatever breaks off a round is a finding of it.
    """
    tally = Tally(kind=kind, seed=seed)
    began = time.monotonic()
    try:
        with Stage(tally, broker, base / f"{kind}-{seed}") as stage:
            (rounds or ROUNDS)[kind](stage)
    except Exception as exc:  # noqa: BLE001 - a soak goes on with the next round, and fails at its end
        where = traceback.extract_tb(exc.__traceback__)[-1]
        tally.note("invalid", 1, f"{type(exc).__name__} in {where.name}: {exc}")
    tally.seconds = round(time.monotonic() - began, 2)
    return tally


def draw_fault(rng: Random, point: Point, action: Action = Action.KILL, *, nth_max: int = 4) -> Fault:
    nth = rng.randint(1, nth_max)
    return Fault(
        point=point,
        nth=nth,
        action=action,
        records=rng.randint(1, 60 if nth == 1 else 8),  # the first transaction is large, any later one may be small
        flush=rng.random() < 0.5,
        late=rng.random() < 0.5,
        delay_ms=round(rng.uniform(0, IN_COMMIT_MS_MAX), 2),
    )


def await_struck(stage: Stage, victim: Worker) -> None:
    """Feed until the fault has ended its worker."""
    stage.feed_until(lambda: victim.has_ended, f"the fault of {victim.name}")
    stage.await_end(victim, KILLED)
    if not victim.was_struck:
        raise RoundInvalidError(f"{victim.name} was ended by something else: {victim.tail()}")


def follow(stage: Stage, victim: str, *, same: bool) -> Worker:
    """Start the worker that goes on: of the same name, as after a restart, or of another, as in a takeover."""
    return stage.start(victim if same else f"{victim}-next")


def killed(stage: Stage, point: Point) -> None:
    """Kill a worker at a point around a commit; one time in four its successor too, at any of them."""
    rng = stage.rng
    fault, same = draw_fault(rng, point), rng.random() < 0.5
    again = draw_fault(rng, rng.choice(AROUND_COMMIT)) if rng.random() < 0.25 else None
    stage.found(rng.randint(1, 2))
    victim = stage.start("a", fault)
    await_struck(stage, victim)
    if again is not None:
        second = stage.start("b", again)
        await_struck(stage, second)
    follow(stage, "a", same=same)
    stage.feed_some()
    stage.finish()


def killed_at_any_instant(stage: Stage) -> None:
    """Kill a worker when a clock says so, while load comes."""
    seconds, same = stage.rng.uniform(0, 1.2), stage.rng.random() < 0.5
    stage.tally.plan["killed_after_seconds"] = seconds
    stage.found(stage.rng.randint(1, 3))
    victim = stage.start("a")
    stage.feed_until(lambda: "resumed at" in victim.log, "the first fold")
    until = time.monotonic() + seconds
    stage.feed_until(lambda: time.monotonic() > until, "its hour")
    victim.kill()
    follow(stage, "a", same=same)
    stage.feed_some()
    stage.finish()


def killed_in_restore(stage: Stage, point: Point) -> None:
    """Kill a worker while it restores what another left; with IN_REBUILD, while it folds the log again."""
    rng = stage.rng
    fault, same = draw_fault(rng, point, nth_max=5 if point is Point.IN_RESTORE else 1), rng.random() < 0.5
    tenants = stage.found(rng.randint(1, 2))
    first = stage.start("a")
    stage.feed_until(lambda: all(stage.watch.count(t) for t in tenants), "a first commit")
    stage.feed_some()
    if point is Point.IN_REBUILD:
        stage.await_folded()
        first.stop()
        for tenant in tenants:
            lose_head(stage, tenant)
    else:
        first.kill()
    victim = stage.start("b", fault)
    await_struck(stage, victim)
    follow(stage, "b", same=same)
    stage.feed_some()
    stage.finish()


def lose_head(stage: Stage, tenant: Tenant) -> None:
    """Damage a changelog, so that the next worker must fold the log again."""
    stage.world.producer.produce(STATE.of(tenant.name), None, b"head", 0)
    if stage.world.producer.flush(PATIENCE_SECONDS):
        raise RoundInvalidError("the changelog could not be damaged")


def killed_on_assign(stage: Stage) -> None:
    """Kill a worker while partitions are given to it: alone, or while another gives them up."""
    rng = stage.rng
    fault, is_alone, same = draw_fault(rng, Point.ON_ASSIGN, nth_max=1), rng.random() < 0.3, rng.random() < 0.5
    tenants = stage.found(3)
    if not is_alone:
        stage.start("a")
        stage.feed_until(lambda: all(stage.watch.count(t) for t in tenants), "a first commit")
    victim = stage.start("b", fault)
    await_struck(stage, victim)
    if is_alone or rng.random() < 0.5:
        follow(stage, "b", same=same)
    stage.feed_some()
    stage.finish()


def killed_on_revoke(stage: Stage) -> None:
    """Kill a worker while partitions are taken from it, for one that joins."""
    rng = stage.rng
    fault, returns = draw_fault(rng, Point.ON_REVOKE, nth_max=1), rng.random() < 0.5
    tenants = stage.found(rng.randint(2, 3))
    victim = stage.start("a", fault)
    stage.feed_until(lambda: all(stage.watch.count(t) for t in tenants), "a first commit")
    stage.start("b")
    await_struck(stage, victim)
    if returns:
        stage.start("a")
    stage.feed_some()
    stage.finish()


def stopped(stage: Stage) -> None:
    """Stop a worker at a point around a commit for longer than its session, have another take over, and let it go on.

    What it held must not reach the log, and it must either end or become a member again.
    """
    rng = stage.rng
    point = Point.AFTER_CONSUME if rng.random() < 0.3 else rng.choice(AROUND_COMMIT)
    fault = draw_fault(rng, point, Action.STOP)
    stage.found(rng.randint(1, 2))
    zombie = stage.start("a", fault)
    stage.feed_until(lambda: _state(zombie.child.pid) == "T", "the fault")
    stage.start("b")
    stage.feed_some()
    stage.await_folded()
    zombie.child.send_signal(signal.SIGCONT)
    zombie.is_left_alone = False
    stage.feed_some()
    stage.finish()


def joined_and_left(stage: Stage) -> None:
    """Have a second worker join under load and leave again, in peace or not, twice."""
    leaves = [stage.rng.random() < 0.6 for _ in range(2)]
    tenants = stage.found(3)
    stage.start("stays")
    stage.feed_until(lambda: all(stage.watch.count(t) for t in tenants), "a first commit")
    for times, in_peace in enumerate(leaves, start=1):
        guest = stage.start("guest")
        stage.feed_until(lambda n=times, w=guest: w.log.count("serving") >= n and "resumed at" in w.log, "the guest")
        stage.feed_some()
        guest.stop() if in_peace else guest.kill()
        stage.feed_some()
    stage.finish()


def revoked_in_call(stage: Stage, *, deaf: bool = False) -> None:
    """Have a partition move, and be folded by its new owner, inside the consumer call that returns its records.

    With `deaf` the loop is not told. Then both owners fold them, and both commit.
    """
    tenants = stage.found(2)
    fault = Fault(point=Point.HELD, nth=1)
    older = stage.start("a", fault, deaf=deaf)
    stage.await_that(lambda: older.was_struck, "the call")
    time.sleep(0.5)  # it takes up what else is there
    stage.start("b")
    stage.await_that(lambda: any(stage.is_folded(t) for t in tenants), "the fold of the partition that moved")
    older.release.touch()
    older.is_left_alone = False
    stage.feed_some()
    stage.finish()


def one_name(stage: Stage) -> None:
    """Start a second worker with the transactional id of the first: the older must end, and say why."""
    tenants = stage.found(stage.rng.randint(1, 3))
    older = stage.start("a")
    stage.feed_until(lambda: all(stage.watch.count(t) for t in tenants), "a first commit")
    older.is_left_alone = True
    stage.start("b", identity="a")
    stage.feed_until(lambda: older.has_ended, "the end of the older")
    stage.await_end(older, {FENCED})
    stage.feed_some()
    stage.finish()


def intruded(stage: Stage) -> None:
    """Leave an intruder's transaction open on intake, with a kill or without, and end it only when all is folded."""
    rng = stage.rng
    fault = draw_fault(rng, rng.choice(AROUND_COMMIT)) if rng.random() < 0.5 else None
    commits, same = rng.random() < 0.5, rng.random() < 0.5
    tenants = stage.found(rng.randint(1, 2))
    intruder = Producer(
        {
            "bootstrap.servers": stage.world.broker.bootstrap,
            "transactional.id": f"{stage.world.unique}.intruder",
            "transaction.timeout.ms": INTRUDER_TIMEOUT_MS,
            "log_level": 0,
        }
    )
    intruder.init_transactions(10)
    intruder.begin_transaction()
    for tenant in tenants:
        tenant.append([(b"mine", [])], producer=intruder)
    worker = stage.start("a", fault)
    if fault is not None:
        await_struck(stage, worker)
        follow(stage, "a", same=same)
    stage.feed_some()
    stage.await_folded()
    # Would fail had the broker ended it: then nothing would have been shown.
    intruder.commit_transaction(10) if commits else intruder.abort_transaction(10)
    stage.feed_some()
    stage.finish()


def too_large_for_client(stage: Stage) -> None:
    """Have the producer refuse an output: the tenant is paused with its reason, others go on, nothing is half there."""
    large, _ = stage.found(2)
    limited = stage.start("a", message_bytes_max=CLIENT_BYTES_MAX)
    stage.await_folded()
    large.append(large.make_calls(1, pad=2 * CLIENT_BYTES_MAX))
    _paused_alone(stage, limited, large)


def too_large_for_topic(stage: Stage) -> None:
    """Have the broker refuse an output, after the producer took it."""
    large, _ = stage.found(2)
    limited = stage.start("a")
    stage.await_folded()
    set_topic_bytes(stage, DECISIONS.of(large.name), TOPIC_BYTES_MAX)
    large.append(large.make_calls(1, pad=TOPIC_BYTES_MAX))
    _paused_alone(stage, limited, large)


def _paused_alone(stage: Stage, limited: Worker, large: Tenant) -> None:
    [other] = [tenant for tenant in stage.tenants if tenant is not large]
    stage.await_that(lambda: f"{large.intake} is paused: " in limited.log, "the pause")
    if "MSG_SIZE_TOO_LARGE" not in limited.tail():
        raise RoundInvalidError(f"paused for another reason: {limited.tail()}")
    other.call(20)
    stage.await_that(lambda: stage.is_folded(other), "the other tenant")
    limited.stop()
    set_topic_bytes(stage, DECISIONS.of(large.name), DECISIONS.message_bytes_max)
    stage.start("mended")
    stage.feed_some()
    stage.finish()


def set_topic_bytes(stage: Stage, topic: str, count: int) -> None:
    """Set the largest message that a topic takes, and wait until the broker says so: it follows its controller."""
    entry = ConfigEntry("max.message.bytes", str(count), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    with AdminClient({"bootstrap.servers": stage.world.broker.bootstrap, "log_level": 0}) as admin:
        admin.incremental_alter_configs([resource])[resource].result(PATIENCE_SECONDS)
        plain = ConfigResource(ConfigResource.Type.TOPIC, topic)
        stage.await_that(
            lambda: (
                admin.describe_configs([plain])[plain].result(PATIENCE_SECONDS)["max.message.bytes"].value == str(count)
            ),
            "the topic's limit",
        )


ROUNDS: Mapping[str, Round] = {
    **{str(point): partial(killed, point=point) for point in AROUND_COMMIT},
    "any-instant": killed_at_any_instant,
    "in-restore": partial(killed_in_restore, point=Point.IN_RESTORE),
    "in-rebuild": partial(killed_in_restore, point=Point.IN_REBUILD),
    "on-assign": killed_on_assign,
    "on-revoke": killed_on_revoke,
    "stopped": stopped,
    "join-leave": joined_and_left,
    "revoked-in-call": revoked_in_call,
    "one-name": one_name,
    "intruder": intruded,
    "too-large-client": too_large_for_client,
    "too-large-topic": too_large_for_topic,
}
