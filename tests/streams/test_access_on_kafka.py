"""Access rules on Apache Kafka with SASL/SCRAM and its authorizer: what each role may do, and every attack refused."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from dataclasses import replace

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import (
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from confluent_kafka.cimpl import NewTopic

from producers.home.security import UNSECURED
from schemas import topics
from schemas.topics import INTAKE, OPS_TOPICS, RESULTS, TENANT_TOPICS, Topic
from streams.cluster.access import AccessError, AclEntry, Pattern, ResourceKind
from streams.cluster.access_cluster import create_grants, read_grants
from streams.cluster.topics import Drift
from streams.local.choose import NamedBroker
from streams.local.jars import choose_cache, why_no_kafka
from tests.streams.intruder import began_transaction, committed, fetched, produced, refused
from tests.streams.secured_broker import SUPER
from tests.streams.secured_world import SecuredWorld, secured_world
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.real_broker("access rules are Kafka's authorizer's")]

NO_TOPIC, NO_GROUP = "TOPIC_AUTHORIZATION_FAILED", "GROUP_AUTHORIZATION_FAILED"
NO_TRANSACTION, NO_CLUSTER = "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredWorld]:
    if why_no_kafka(choose_cache(os.environ)) is not None:
        pytest.skip("an authorizer needs Apache Kafka from jars: install Java and Maven")
    names = (f"{side}{secrets.token_hex(3)}" for side in ("left", "right", "whole"))
    with secured_world(tmp_path_factory.mktemp("secured"), *names) as made:
        yield made


def row(topic: Topic, what: str) -> tuple[str, ...]:
    """Return who writes or reads a topic; of a tool, any."""
    roles = topic.writers if what == "write" else topic.readers
    return tuple(r for role in roles for r in (("tool:bank", "tool:mail") if role == "tool" else (role,)))


def expected(world: SecuredWorld, tenant: str, role: str, what: str) -> dict[str, str]:
    """Return the answer for every topic of every tenant and of the operator, from the table alone."""
    everywhere = role in topics.OPERATOR_ROLES
    found = {t.of(tenant): "" if role in row(t, what) else NO_TOPIC for t in (*TENANT_TOPICS, *OPS_TOPICS)}
    for other in set(world.tenants) - {tenant}:
        found |= {t.of(other): "" if everywhere and role in row(t, what) else NO_TOPIC for t in TENANT_TOPICS}
    return found


ROLES = ("agent", "tool:bank", "approver", "admin", "bridge", "signer", "exporter", "operator", "monitor", "views")


@pytest.mark.parametrize("role", ROLES)
def test_a_role_writes_and_reads_exactly_the_topics_of_its_rows(world: SecuredWorld, role: str) -> None:
    """Every topic of three tenants and of the operator: the broker answers what the table says, and nothing else."""
    user = world.users(world.left)[role]
    security = world.broker.security(user)
    to_write = expected(world, world.left, role, "write")
    # Nothing forged is written where an installation of this module runs.
    to_write = {t: answer for t, answer in to_write.items() if answer or f".{world.whole}." not in t}
    to_read = expected(world, world.left, role, "read")

    assert produced(world.bootstrap, security, to_write) == to_write
    assert fetched(world.bootstrap, security, to_read) == to_read


@pytest.mark.parametrize("is_known", [True, False])
def test_who_has_no_role_does_nothing(world: SecuredWorld, is_known: bool) -> None:
    """With good credentials, or without any on the listener that asks for none."""
    bootstrap = world.bootstrap if is_known else world.broker.info.bootstrap
    security = world.broker.security("stranger") if is_known else UNSECURED
    refusals = {t.of(world.left): NO_TOPIC for t in (*TENANT_TOPICS, *OPS_TOPICS)}

    assert produced(bootstrap, security, refusals) == refusals
    assert fetched(bootstrap, security, refusals) == refusals
    assert committed(bootstrap, security, topics.reader_group(world.left), INTAKE.of(world.left)) == NO_GROUP


def test_an_agent_reaches_nothing_of_another_tenant(world: SecuredWorld) -> None:
    """The two that would hurt most, by name: answers of others, and words in their name."""
    security = world.broker.security(world.users(world.left)["agent"])

    results, intake = RESULTS.of(world.right), INTAKE.of(world.right)
    assert fetched(world.bootstrap, security, [results]) == {results: NO_TOPIC}
    assert produced(world.bootstrap, security, [intake]) == {intake: NO_TOPIC}
    assert fetched(world.bootstrap, security, [RESULTS.of(world.left)]) == {RESULTS.of(world.left): ""}


@pytest.mark.parametrize("role", ["agent", "tool:bank", "admin", "bridge"])
@pytest.mark.parametrize("topic", ["decisions", "audit", "state", "results", "registry"])
def test_only_a_monitor_decides(world: SecuredWorld, role: str, topic: str) -> None:
    """Not with an idempotent producer either, which asks for an id before it writes."""
    target = f"macaw.{world.left}.{topic}"
    security = world.broker.security(world.users(world.left)[role])

    answer = produced(world.bootstrap, security, [target], **{"enable.idempotence": True})

    assert answer == {target: NO_TOPIC}


def test_only_its_members_commit_in_a_group(world: SecuredWorld) -> None:
    """Whoever moves the monitor's offset, or a tool's, makes it skip what it must see."""
    users, intake = world.users(world.left), INTAKE.of(world.left)
    decisions = f"macaw.{world.left}.decisions"

    def answers(group: str, topic: str) -> dict[str, str]:
        return {r: committed(world.bootstrap, world.broker.security(u), group, topic) for r, u in users.items()}

    in_monitors = answers(topics.MONITOR_GROUP, intake)
    assert in_monitors.pop("monitor") == ""
    assert set(in_monitors.values()) == {NO_GROUP}
    in_banks = answers(topics.tool_group(world.left, "bank"), decisions)
    assert in_banks.pop("tool:bank") == ""
    assert set(in_banks.values()) == {NO_GROUP}
    assert set(answers(topics.reader_group(world.left), intake).values()) == {NO_GROUP}
    in_exports = answers(topics.export_groups(world.left) + "connect", intake)
    assert in_exports.pop("exporter") == ""
    assert set(in_exports.values()) == {NO_GROUP}
    stranger = world.broker.security(world.users(world.right)["tool:bank"])
    assert committed(world.bootstrap, stranger, topics.tool_group(world.left, "bank"), decisions) == NO_GROUP
    stranger = world.broker.security(world.users(world.right)["exporter"])
    assert committed(world.bootstrap, stranger, topics.export_groups(world.left) + "connect", intake) == NO_GROUP


def test_a_tool_of_others_reads_in_a_group_of_the_exporter(world: SecuredWorld) -> None:
    """As Connect, kafkajs and the console consumer do: they join, are given partitions, and commit."""
    security = world.broker.security(world.users(world.left)["exporter"])
    settings = {
        **security,
        "bootstrap.servers": world.bootstrap,
        "group.id": topics.export_groups(world.left) + "console",
    }
    consumer = Consumer({**settings, "auto.offset.reset": "earliest", "enable.auto.commit": False})
    try:
        consumer.subscribe([INTAKE.of(world.left)])

        def poll() -> None:
            message = consumer.poll(0.1)
            assert message is None or message.error() is None

        [place] = wait_until(consumer.assignment, "a partition", pause=0, meanwhile=poll)
        consumer.commit(offsets=[TopicPartition(place.topic, place.partition, 0)], asynchronous=False)
    finally:
        consumer.close()


@pytest.mark.parametrize("name", ["macaw.monitor.0.0", "macaw.monitor.x", "of-my-own"])
def test_only_a_monitor_has_transactions(world: SecuredWorld, name: str) -> None:
    """Who takes a monitor's id fences it; whoever has any could leave a transaction open on intake."""
    users = world.users(world.left)
    answers = {r: began_transaction(world.bootstrap, world.broker.security(u), name) for r, u in users.items()}

    assert answers.pop("monitor") == ("" if name.startswith("macaw.monitor.") else NO_TRANSACTION)
    assert set(answers.values()) == {NO_TRANSACTION}


@pytest.mark.parametrize("role", ["agent", "tool:bank", "admin", "exporter", "monitor", "views"])
def test_nobody_but_the_operator_changes_topics_or_rules(world: SecuredWorld, role: str) -> None:
    """Settings, topics, partitions, records, access rules and credentials."""
    intake = INTAKE.of(world.left)
    entry = ConfigEntry("message.timestamp.type", "CreateTime", incremental_operation=AlterConfigOpType.SET)
    setting = ConfigResource(ConfigResource.Type.TOPIC, intake, incremental_configs=[entry])
    credential = UserScramCredentialUpsertion(
        "monitor", ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096), b"taken over"
    )
    everything = AclEntry(
        pattern=Pattern(kind=ResourceKind.TOPIC, name="macaw.", prefixed=True),
        principal="User:stranger",
        operation="ALL",
    )
    with world.broker.admin(world.users(world.left)[role]) as admin:

        def first(futures: dict[object, object]) -> None:
            next(iter(futures.values())).result(PATIENCE_SECONDS)  # type: ignore[attr-defined]

        assert refused(lambda: first(admin.incremental_alter_configs([setting]))) == NO_TOPIC
        assert refused(lambda: first(admin.create_topics([NewTopic("macaw.mine.intake", 1, 1)]))) == NO_TOPIC
        assert refused(lambda: first(admin.create_topics([NewTopic("unrelated", 1, 1)]))) == NO_TOPIC
        assert refused(lambda: first(admin.create_partitions([NewPartitions(intake, 2)]))) == NO_TOPIC
        assert refused(lambda: first(admin.delete_topics([intake]))) == NO_TOPIC
        # To whom the topic is not even shown, its leader is nowhere.
        records = refused(lambda: first(admin.delete_records([TopicPartition(intake, 0, 0)])))
        assert records == (NO_TOPIC if role != "views" else "_NOENT")
        assert refused(lambda: first(admin.alter_user_scram_credentials([credential]))) == NO_CLUSTER
        with pytest.raises(AccessError, match=NO_CLUSTER):
            create_grants(admin, [everything])
        with pytest.raises(AccessError, match="does not show its access rules"):
            read_grants(admin)


def test_the_operator_needs_no_more_than_its_rows(world: SecuredWorld) -> None:
    """The fixture let it create topics and rules of two tenants; it checks and applies, and deletes nothing."""
    assert world.plan(world.left, user="olga").drift == ()
    with world.broker.admin("olga") as admin:
        done, after = world.plan(world.right, user="olga").apply(admin)
        deletion = admin.delete_topics([INTAKE.of(world.right)])
        assert refused(lambda: next(iter(deletion.values())).result(PATIENCE_SECONDS)) == NO_TOPIC

    assert (done, after.drift) == ([], ())


def test_a_named_broker_that_asks_who_we_are_is_asked_with_our_name(world: SecuredWorld) -> None:
    """Who may see its settings learns what it is; to others it has proved nothing, and without a name it is silent."""
    with NamedBroker(world.bootstrap, world.broker.security("olga")) as named:
        assert named.info.is_real
    with NamedBroker(world.bootstrap, world.broker.security(world.users(world.left)["agent"])) as named:
        assert named.info.capabilities == frozenset()


def test_a_rule_too_many_is_named_and_left(world: SecuredWorld) -> None:
    """Everybody may read results: nobody planned that. Another tenant's plan does not mind."""
    results = Pattern(kind=ResourceKind.TOPIC, name=RESULTS.of(world.left))
    too_many = AclEntry(pattern=results, principal="User:*", operation="READ")
    prefix = Pattern(kind=ResourceKind.TOPIC, name="macaw", prefixed=True)
    almighty = AclEntry(
        pattern=Pattern(kind=ResourceKind.CLUSTER, name="kafka-cluster"), principal="User:eve", operation="ALTER"
    )
    with world.broker.admin(SUPER) as admin:
        create_grants(admin, [too_many])
        try:
            [drift] = await_drift(world, 1)
            assert (drift.resource, drift.key) == (str(results), "READ for User:*")
            assert (drift.wanted, drift.found, str(drift.remedy)) == ("nothing", "allowed", "refuse")
            assert world.apply(world.left, user="olga").drift == (drift,)
            assert world.plan(world.right).drift == ()
            create_grants(admin, [replace(too_many, pattern=prefix, operation="ALL"), almighty])
            assert len(await_drift(world, 3)) == 3
        finally:
            delete_grants(world, {"User:*", "User:eve"})
    assert await_drift(world, 0) == ()


def await_drift(world: SecuredWorld, count: int) -> tuple[Drift, ...]:
    """Return the drift of `left` once there is so much: a broker learns of rules a moment after its controller."""
    found: list[tuple[Drift, ...]] = []

    def is_there() -> bool:
        found[:] = [world.plan(world.left).drift]
        return len(found[0]) == count

    wait_until(is_there, lambda: f"got {found}, want {count}", pause=0.1)
    return found[0]


def delete_grants(world: SecuredWorld, principals: set[str]) -> None:
    with world.broker.admin(SUPER) as admin:
        for who in principals:
            every = AclBindingFilter(
                ResourceType.ANY, None, ResourcePatternType.ANY, who, None, AclOperation.ANY, AclPermissionType.ANY
            )
            [deleted] = admin.delete_acls([every]).values()
            assert deleted.result(PATIENCE_SECONDS)
