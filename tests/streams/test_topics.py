"""Topics as the table wants them against what a cluster has: the difference, and what is done about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.cimpl import NewTopic

from schemas import limits, topics
from schemas.topics import AUDIT, DECISIONS, INTAKE, KEYED_PARTITIONS, REGISTRY, STATE, insync_replicas_min
from streams.cluster.access import NOBODY, parse_access
from streams.cluster.founding import FoundingError, create_topics
from streams.cluster.plan import NO_AUTHORIZER, ClusterPlan
from streams.cluster.topics import TOPICS, FoundTopic, Key, Remedy, TopicPlan, TopicsError
from streams.local.choose import BrokerInfo
from tests.waiting import PATIENCE_SECONDS, wait_until

FOUND = FoundTopic(partitions=1, replication=1, config=None)
Change = tuple[str, str, str, str, str]


def as_wanted(replication: int = 1) -> TopicPlan:
    """A plan for a cluster on which everything is as it should be."""
    found = {
        t.of("acme"): FoundTopic(partitions=t.partitions, replication=replication, config=t.config(replication))
        for t in TOPICS
    }
    return TopicPlan(tenant="acme", replication=replication, found=found)


def changed(plan: TopicPlan, topic: topics.Topic, **what: object) -> TopicPlan:
    name = topic.of("acme")
    return replace(plan, found={**plan.found, name: replace(plan.found[name], **what)})


def rows(plan: TopicPlan) -> list[Change]:
    return [(d.resource, d.key, d.wanted, d.found, str(d.remedy)) for d in plan.drift]


# --- the table


def test_what_counts_is_kept_and_ordered_by_the_broker() -> None:
    """Audit and registry for ever whatever the cluster's defaults; intake's clock is the broker's."""
    assert INTAKE.config()["message.timestamp.type"] == "LogAppendTime"
    assert INTAKE.config()["max.message.bytes"] == str(limits.INTAKE_MESSAGE_BYTES_MAX)
    assert (AUDIT.config()["cleanup.policy"], AUDIT.config()["retention.ms"]) == ("delete", "-1")
    assert {t.config()["cleanup.policy"] for t in (REGISTRY, STATE)} == {"compact"}
    assert {t.config()["retention.bytes"] for t in TOPICS} == {"-1"}
    assert {t.config()["unclean.leader.election.enable"] for t in TOPICS} == {"false"}


def test_a_write_is_acknowledged_by_a_majority() -> None:
    """Two that each hold half of the replicas never both take a write; one replica is its own majority."""
    assert [insync_replicas_min(n) for n in (1, 2, 3, 4, 5)] == [1, 2, 2, 3, 3]
    assert AUDIT.config(3)["min.insync.replicas"] == "2"


def test_the_end_of_a_session_is_kept_until_its_time_is_over() -> None:
    """By the broker's clock, whatever the monitor's says; and what nobody needs any more leaves within the hour."""
    config = topics.SESSIONS.config()

    assert config["message.timestamp.type"] == "LogAppendTime"
    assert config["cleanup.policy"] == "compact,delete"
    assert int(config["retention.ms"]) >= 2 * limits.SESSION_TTL_MS_MAX
    assert config["segment.ms"] == "3600000"


def test_a_tenants_topics_have_one_partition_but_for_the_keyed_ones() -> None:
    keyed = {t.name: t.partitions for t in topics.TENANT_TOPICS if t.partitions != 1}
    assert keyed == dict.fromkeys(("decisions", "results", "sessions", "bodies", "login-answers"), KEYED_PARTITIONS)
    names = [t.of("acme") for t in TOPICS]
    assert len(set(names)) == len(names)


# --- the difference


@pytest.mark.parametrize("replication", [1, 3])
def test_a_cluster_as_wanted_has_no_drift(replication: int) -> None:
    """Settings that the table does not name are the cluster's own business."""
    plan = as_wanted(replication)
    config = {**AUDIT.config(replication), "segment.bytes": "1048576"}

    assert rows(changed(plan, AUDIT, config=config)) == []


def test_each_setting_that_differs_is_named_with_both_values() -> None:
    """Every key of every topic: none is only created and then forgotten."""
    for topic in TOPICS:
        for key, want in topic.config().items():
            plan = changed(as_wanted(), topic, config={**topic.config(), key: "other"})
            assert rows(plan) == [(topic.of("acme"), key, want, "other", "alter")]


def test_a_setting_that_the_cluster_does_not_know_is_missing() -> None:
    config = AUDIT.config()
    del config["retention.bytes"]

    assert rows(changed(as_wanted(), AUDIT, config=config)) == [
        ("macaw.acme.audit", "retention.bytes", "-1", "missing", "alter")
    ]


def test_a_missing_topic_is_created() -> None:
    plan = TopicPlan(tenant="acme", replication=1, found={})

    assert rows(plan) == [(t.of("acme"), "topic", "present", "missing", "create") for t in TOPICS]


@pytest.mark.parametrize(("key", "what"), [(Key.PARTITIONS, {"partitions": 3}), (Key.REPLICATION, {"replication": 2})])
def test_counts_are_refused_by_name_and_the_topics_settings_left_alone(key: Key, what: dict[str, int]) -> None:
    """`min.insync.replicas` of three replicas on a topic that has fewer could stop every writer."""
    plan = changed(as_wanted(3), DECISIONS, config={**DECISIONS.config(3), "retention.ms": "1"}, **what)

    refused, setting = plan.drift
    assert (refused.resource, refused.key, refused.remedy) == ("macaw.acme.decisions", key, Remedy.REFUSE)
    assert refused.why
    assert (setting.key, setting.remedy) == ("retention.ms", Remedy.REFUSE)
    assert setting.why


def test_names_without_an_authorizer_are_drift() -> None:
    """Who has said who may do what relies on it; who has said nothing has a laptop."""
    access = parse_access(b'{"tenants": {"acme": {"agent": ["User:shopper"]}}}')

    assert ClusterPlan(topics=as_wanted(), access=NOBODY, found=None).drift == ()
    assert ClusterPlan(topics=as_wanted(), access=access, found=None).drift == (NO_AUTHORIZER,)


# --- on a broker


@pytest.fixture
def admin(broker: BrokerInfo) -> Iterator[AdminClient]:
    with AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 2}) as client:
        yield client


def read(admin: AdminClient, tenant: str) -> ClusterPlan:
    """Ask the cluster, for the tenant's own topics: those of the operator are there for every test of the run."""
    return ClusterPlan.read(admin, tenant, replication=1, access=NOBODY)


def set_config(admin: AdminClient, topic: str, **settings: str) -> None:
    entries = [
        ConfigEntry(key.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
        for key, value in settings.items()
    ]
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=entries)
    admin.incremental_alter_configs([resource])[resource].result(PATIENCE_SECONDS)


@pytest.mark.broker
def test_apply_creates_then_mends_and_then_has_nothing_to_do(admin: AdminClient, unique: str) -> None:
    """What was drift before is none after; what apply made is what check wants, by the broker's own word."""
    done, after = read(admin, unique).apply(admin)
    assert {d.resource for d in done if d.remedy is Remedy.CREATE} >= {t.of(unique) for t in topics.TENANT_TOPICS}
    assert after.drift == ()
    assert read(admin, unique).apply(admin)[0] == []

    audit, intake = AUDIT.of(unique), INTAKE.of(unique)
    set_config(admin, audit, retention_ms="60000", cleanup_policy="compact")
    set_config(admin, intake, message_timestamp_type="CreateTime")
    found = await_drift(admin, unique, 3)
    assert found == {
        (audit, "cleanup.policy", "delete", "compact", "alter"),
        (audit, "retention.ms", "-1", "60000", "alter"),
        (intake, "message.timestamp.type", "LogAppendTime", "CreateTime", "alter"),
    }
    done, after = read(admin, unique).apply(admin)
    assert {(d.resource, d.key) for d in done} == {(resource, key) for resource, key, *_ in found}
    assert after.drift == ()


def create(admin: AdminClient, topic: str, *, partitions: int) -> None:
    """Create a topic and wait until the broker lists it: its controller knows a moment before."""
    [made] = admin.create_topics([NewTopic(topic, num_partitions=partitions, replication_factor=1)]).values()
    made.result(PATIENCE_SECONDS)
    wait_until(lambda: topic in admin.list_topics(timeout=PATIENCE_SECONDS).topics, topic, pause=0.05)


@pytest.mark.broker
def test_a_topic_that_another_made_meanwhile_is_not_taken_for_ours(admin: AdminClient, unique: str) -> None:
    """Between our look and our request somebody may found the tenant with other partitions: that must be seen."""
    create(admin, INTAKE.of(unique), partitions=2)
    before = TopicPlan(tenant=unique, replication=1, found={t.of(unique): FOUND for t in topics.OPS_TOPICS})

    made = before.create(admin)

    assert set(made) == {t.of(unique) for t in topics.TENANT_TOPICS if t is not INTAKE}
    assert (Key.PARTITIONS, "2") in {(d.key, d.found) for d in read(admin, unique).drift}


def await_drift(admin: AdminClient, tenant: str, count: int) -> set[Change]:
    """Return the drift once there is so much: a broker shows a setting a moment after its controller has it."""
    found: list[set[Change]] = []

    def is_there() -> bool:
        found[:] = [{*rows(read(admin, tenant).topics)}]
        return len(found[0]) == count

    wait_until(is_there, lambda: f"got {found}, want {count}", pause=0.05)
    return found[0]


@pytest.mark.broker
def test_a_wrong_partition_count_is_never_changed(admin: AdminClient, unique: str) -> None:
    """Neither by apply nor by founding; the rest is made, and the status tells."""
    intake = INTAKE.of(unique)
    create(admin, intake, partitions=3)

    done, after = read(admin, unique).apply(admin)
    assert {d.resource for d in done} >= {t.of(unique) for t in topics.TENANT_TOPICS if t is not INTAKE}
    assert {d.resource for d in after.drift} == {intake}
    assert (Key.PARTITIONS, "1", "3") in {(d.key, d.wanted, d.found) for d in after.drift}
    assert all(d.remedy is Remedy.REFUSE and d.why for d in after.drift)
    assert len(admin.list_topics(intake, timeout=PATIENCE_SECONDS).topics[intake].partitions) == 3


@pytest.mark.broker
def test_founding_refuses_a_wrong_partition_count_before_it_makes_anything(
    admin: AdminClient, broker: BrokerInfo, unique: str
) -> None:
    create(admin, INTAKE.of(unique), partitions=2)

    with pytest.raises(FoundingError, match=f"{INTAKE.of(unique)} has 2 partitions and must have 1"):
        create_topics(broker.bootstrap, unique)
    assert AUDIT.of(unique) not in admin.list_topics(timeout=PATIENCE_SECONDS).topics


@pytest.mark.broker
def test_more_replicas_than_brokers_are_refused_by_name(admin: AdminClient, broker: BrokerInfo, unique: str) -> None:
    with pytest.raises(TopicsError, match=f"cannot create macaw.{unique}"):
        ClusterPlan.read(admin, unique, replication=9, access=NOBODY).apply(admin)
    with pytest.raises(FoundingError, match=f"cannot create macaw.{unique}"):
        create_topics(broker.bootstrap, unique, replication=9)


@pytest.mark.broker
def test_a_topic_of_one_replica_is_refused_where_three_are_wanted(admin: AdminClient, unique: str) -> None:
    """Its settings stay: two replicas in sync of one would stop the tenant."""
    read(admin, unique).apply(admin)

    plan = ClusterPlan.read(admin, unique, replication=3, access=NOBODY)
    own = [d for d in plan.drift if unique in d.resource]
    assert {(d.key, d.wanted, d.found) for d in own} == {
        (Key.REPLICATION, "3", "1"),
        ("min.insync.replicas", "2", "1"),
    }
    assert {d.remedy for d in own} == {Remedy.REFUSE}
    assert plan.topics.alter(admin) == []
