"""The judge of fault rounds: whole where nothing happened, and each harm in its column."""

import secrets
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer

from schemas.topics import AUDIT, DECISIONS, RESULTS, STATE
from streams.local.choose import BrokerInfo
from tests.streams import fault_oracle
from tests.streams.fault_oracle import judge
from tests.streams.loop_oracle import read_topic
from tests.streams.loop_world import Tenant, World, fold_all, mixed
from tests.waiting import PATIENCE_SECONDS

pytestmark = [pytest.mark.broker, pytest.mark.real_broker("open transactions end by the broker's clock")]

Harm = Callable[[World, Tenant], None]


def nothing(world: World, tenant: Tenant) -> None:
    """Leave it as it is."""


def unfolded_call(world: World, tenant: Tenant) -> None:
    tenant.call(3)


def second_decision(world: World, tenant: Tenant) -> None:
    topic = DECISIONS.of(tenant.name)
    [decision, *_] = [m for p in range(DECISIONS.partitions) for m in read_topic(world, topic, p)]
    _produce(world, topic, decision.key(), decision.value(), decision.partition() or 0)


def second_entry(world: World, tenant: Tenant) -> None:
    last = read_topic(world, AUDIT.of(tenant.name))[-1]
    _produce(world, AUDIT.of(tenant.name), last.key(), last.value())


def foreign_result(world: World, tenant: Tenant) -> None:
    topic = RESULTS.of(tenant.name)
    results = [m for p in range(RESULTS.partitions) for m in read_topic(world, topic, p)]
    _produce(world, topic, results[0].key(), results[-1].value(), results[0].partition() or 0)


def dropped_row(world: World, tenant: Tenant) -> None:
    rows = [m.key() for m in read_topic(world, STATE.of(tenant.name)) if (m.key() or b"").startswith(b"calls/")]
    _produce(world, STATE.of(tenant.name), rows[0], None)


def older_head(world: World, tenant: Tenant) -> None:
    heads = [m for m in read_topic(world, STATE.of(tenant.name)) if m.key() == b"head"]
    _produce(world, STATE.of(tenant.name), b"head", heads[0].value())


def unheard_call(world: World, tenant: Tenant) -> None:
    tenant.caller.last_seq += 1


def open_transaction(world: World, tenant: Tenant) -> None:
    """Left open on purpose: the broker ends it after 15 s."""
    given = {"bootstrap.servers": world.broker.bootstrap, "transactional.id": f"{tenant.name}.x", "log_level": 0}
    producer = Producer({**given, "transaction.timeout.ms": 15_000})
    producer.init_transactions(10)
    producer.begin_transaction()
    producer.produce(AUDIT.of(tenant.name), b"mine", None, 0)
    assert producer.flush(PATIENCE_SECONDS) == 0


def _produce(world: World, topic: str, key: bytes | None, value: bytes | None, partition: int = 0) -> None:
    world.producer.produce(topic, value, key, partition)
    assert world.producer.flush(PATIENCE_SECONDS) == 0


HARMS: dict[Harm, set[str]] = {
    nothing: set(),
    unfolded_call: {"lost", "forked"},  # the rest of the state is not what it should be by now
    second_decision: {"doubled", "forked"},
    second_entry: {"doubled", "forked"},
    foreign_result: {"forked"},
    dropped_row: {"forked"},
    older_head: {"forked"},
    unheard_call: {"forked"},
    open_transaction: {"stuck"},
}


@pytest.fixture(scope="module")
def harmed(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> tuple[World, dict[Harm, Tenant]]:
    """One tenant a harm, folded in two parts, and then harmed while no worker runs."""
    world = World(broker, tmp_path_factory.mktemp("harmed"), f"t{secrets.token_hex(4)}")
    tenants = dict(zip(HARMS, world.found_all(*(h.__name__.replace("_", "-") for h in HARMS)), strict=True))
    loop = world.loop()
    for _ in range(2):
        for tenant in tenants.values():
            tenant.append(mixed(tenant, 20))
        fold_all(loop, *tenants.values())
    loop.close()
    for harm, tenant in tenants.items():
        harm(world, tenant)
    return world, tenants


@pytest.mark.parametrize("harm", HARMS)
def test_each_harm_is_found(
    harmed: tuple[World, dict[Harm, Tenant]], harm: Harm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is found where there was none."""
    world, tenants = harmed
    monkeypatch.setattr(fault_oracle, "OPEN_SECONDS_MAX", 2.0)

    found = judge(world, tenants[harm], tmp_path / "evidence")

    assert {column for column, _, _ in found} == HARMS[harm], found


def test_a_log_that_stops_short_is_right_as_far_as_it_goes(broker: BrokerInfo, tmp_path: Path, unique: str) -> None:
    """Where little is claimed, what was not folded counts for nothing, and what was folded still counts."""
    world = World(broker, tmp_path / "world", unique)
    tenant = world.found()
    loop = world.loop()
    fold_all(loop, tenant)
    loop.close()
    tenant.call(3)

    assert judge(world, tenant, tmp_path / "first", whole=False) == []
    dropped = read_topic(world, STATE.of(tenant.name))[0].key()
    _produce(world, STATE.of(tenant.name), dropped, None)
    assert {column for column, _, _ in judge(world, tenant, tmp_path / "second", whole=False)} == {"forked"}
