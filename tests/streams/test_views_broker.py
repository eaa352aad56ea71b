"""The views process on a real broker: what was committed is shown, all of it and nothing else, restarts included."""

import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from producers.client.views_client import ViewsError, fetch_sessions
from producers.home.home import Home
from schemas import codec
from schemas.changes import SessionChanged
from schemas.topics import keyed_partition
from streams.local.choose import EmbeddedBroker
from streams.views.app import Folding, ViewsSettings, build_app, rows_of
from streams.views.catalogue import VIEWS
from streams.views.progress import Progress
from streams.views.sessions import SESSIONS, shown_until
from streams.views.topics import ViewTopicsError, create_view_topics, view_topics
from streams.views.view import row_key
from tests.streams.views_world import World, Writer
from tests.waiting import PATIENCE_SECONDS

SOURCE, CHANGELOG = SESSIONS.source.of(""), SESSIONS.changelog.of("")
NOW = 1_800_000_000_000


def opened(tenant: str, index: int, now: int = NOW) -> SessionChanged:
    return SessionChanged(
        origin=f"test/{tenant}",
        audit_index=index,
        tenant=tenant,
        session_id=secrets.token_bytes(32),
        principal_id="shopper",
        role="agent",
        status="open",
        opened_at=now,
        expires_at=now + 3_600_000,
        at=now,
    )


def ended(row: SessionChanged) -> SessionChanged:
    return replace(row, audit_index=row.audit_index + 1, status="ended", expires_at=row.at + 1, at=row.at + 1)


def key_of(row: SessionChanged) -> bytes:
    return row_key(row.tenant, row.session_id.hex())


@pytest.fixture(scope="module", params=["best", "embedded"])
def bootstrap(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The broker of the run, and the embedded one: it names aborts that are over, and Kafka does not."""
    if request.param == "best":
        yield request.getfixturevalue("broker").bootstrap
        return
    with EmbeddedBroker(tmp_path_factory.mktemp("embedded")) as running:
        yield running.info.bootstrap


@pytest.fixture
def world(bootstrap: str, tmp_path: Path, unique: str) -> World:
    create_view_topics(bootstrap)
    made = World(bootstrap, tmp_path, unique, Home.create(tmp_path, {}), Writer(bootstrap, unique))
    made.add_tenant(unique)
    return made


def shown(*rows: SessionChanged) -> dict[str, str]:
    return {row.session_id.hex(): row.status for row in rows}


@pytest.mark.broker
class TestProcess:
    def test_what_was_aborted_never_shows_and_what_follows_it_does(self, world: World) -> None:
        now = time.time_ns() // 1_000_000
        before, never, after, live = (opened(world.tenant, i, now) for i in range(4))
        world.writer.write(before)
        world.writer.write(never, ended(before), commit=False)
        world.writer.write(after)

        with world.views() as views:
            assert views.statuses(world.tenant) == shown(before, after)
            world.writer.write(ended(after), never, commit=False)
            world.writer.write(live, ended(before))
            views.await_statuses(world.tenant, shown(ended(before), after, live))
            # The same producer and partition as what was aborted, in a fetch that begins behind it.
            world.writer.write(ended(after))
            views.await_statuses(world.tenant, shown(ended(before), ended(after), live))
            assert views.stop() == 0

    def test_a_killed_process_is_replaced_at_once_and_forgets_nothing(self, world: World) -> None:
        """Its group dies with it, so nobody waits for it; what changed in between is there as well."""
        now = time.time_ns() // 1_000_000
        rows = [opened(world.tenant, i, now) for i in range(40)]
        world.writer.write(*rows)
        with world.views() as views:
            assert views.statuses(world.tenant) == shown(*rows)
            views.stop(kill=True)
        over = [ended(row) for row in rows[:20]]
        world.writer.write(*over)

        for _ in range(2):
            with world.views() as views:
                assert views.statuses(world.tenant) == shown(*over, *rows[20:])

    def test_several_processes_answer_for_every_tenant(self, world: World) -> None:
        now = time.time_ns() // 1_000_000
        other = f"{world.tenant}-b"
        world.add_tenant(other)
        mine, theirs = [opened(world.tenant, i, now) for i in range(8)], [opened(other, i, now) for i in range(8)]
        world.writer.write(*mine, *theirs)

        with world.views() as one, world.views() as two:
            for views in (one, two):
                assert views.statuses(world.tenant) == shown(*mine)
                assert views.statuses(other) == shown(*theirs)
            with pytest.raises(ViewsError, match="token"):
                fetch_sessions(one.address, other, world.home.tenant(world.tenant).token())

    def test_poison_is_counted_and_skipped(self, world: World) -> None:
        now = time.time_ns() // 1_000_000
        row = opened(world.tenant, 1, now)
        place = keyed_partition(row.session_id)
        forged = (key_of(opened(world.tenant, 2)), codec.frame(row), place)
        with world.views() as views:
            views.statuses(world.tenant)
            before = views.poison_records()
            world.writer.write_raw((b"k", b"not avro", place), (key_of(row), b"", place), forged)
            world.writer.write(row)

            views.await_statuses(world.tenant, shown(row))
            assert views.poison_records() - before == 3
            assert "is skipped" in (world.base / "views.log").read_text()

    def test_a_record_without_a_value_removes_its_row(self, world: World) -> None:
        now = time.time_ns() // 1_000_000
        stays, goes = opened(world.tenant, 1, now), opened(world.tenant, 2, now)
        world.writer.write(stays, goes)
        with world.views() as views:
            assert views.statuses(world.tenant) == shown(stays, goes)
            world.writer.write_raw((key_of(goes), None, keyed_partition(goes.session_id)))

            views.await_statuses(world.tenant, shown(stays))

    def test_its_topics_are_made_once(self, world: World) -> None:
        assert create_view_topics(world.bootstrap) == []


@pytest.mark.broker
def test_a_topic_with_other_partitions_is_refused(tmp_path: Path) -> None:
    """Faust would start, and then crash over and over."""
    with EmbeddedBroker(tmp_path) as broker, AdminClient({"bootstrap.servers": broker.info.bootstrap}) as admin:
        admin.create_topics([NewTopic(CHANGELOG, num_partitions=1, replication_factor=1)])[CHANGELOG].result(
            PATIENCE_SECONDS
        )

        with pytest.raises(ViewTopicsError, match="has 1 partitions and must have 4"):
            create_view_topics(broker.info.bootstrap)


class TestTopology:
    def test_every_name_is_ours(self, tmp_path: Path) -> None:
        """Faust's generated names change with the code."""
        app = build_app(ViewsSettings(bootstrap="127.0.0.1:1,127.0.0.1:2", instance="one", data_dir=tmp_path))

        assert app.conf.id == "macaw-views-one"
        names = ("sessions", "attestations", "context", "delegations")
        assert list(app.tables) == [f"macaw-views-{name}" for name in names]
        assert [table.changelog_topic.get_topic_name() for table in app.tables.values()] == [
            f"macaw.ops.{name}-changelog" for name in names
        ]
        assert list(app.agents) == [f"macaw-views-fold-{name}" for name in names]
        assert rows_of(app)["sessions"] is app.tables["macaw-views-sessions"]

    def test_no_web_server_and_no_topic_of_its_own(self, tmp_path: Path) -> None:
        conf = build_app(ViewsSettings(bootstrap="127.0.0.1:1", instance="one", data_dir=tmp_path)).conf

        assert not conf.web_enabled
        assert not conf.topic_allow_declare
        assert conf.topic_disable_leader
        assert (conf.broker_session_timeout, conf.broker_heartbeat_interval) == (10, 3)

    def test_a_changelog_is_compacted_and_partitioned_like_its_source(self) -> None:
        topics = {topic.name: topic for topic in view_topics()}

        assert len(topics) == 8
        for view in VIEWS:
            source, changelog = topics.pop(view.source.of("")), topics.pop(view.changelog.of(""))
            assert changelog.name == f"{source.name}-changelog"
            assert source.partitions == changelog.partitions == 4
            assert changelog.config["cleanup.policy"] == "compact"


class TestFolding:
    """The agent's body on a plain dictionary."""

    def fold(self, rows: dict[bytes, bytes], now: int, *changes: SessionChanged) -> Progress:
        progress = Progress()
        folding = Folding(SESSIONS, rows, progress, lambda: now)
        for offset, change in enumerate(changes):
            folding.fold(key_of(change), codec.frame(change), keyed_partition(change.session_id), offset)
        return progress

    def test_an_older_change_writes_nothing(self) -> None:
        row = opened("acme", 1)
        rows: dict[bytes, bytes] = {}

        self.fold(rows, NOW, ended(row), row)

        assert rows == {key_of(row): codec.frame(ended(row))}

    def test_a_change_that_is_long_over_writes_nothing(self) -> None:
        """Or each start would write the whole past into the changelog, and drop it again."""
        row = opened("acme", 1)
        rows: dict[bytes, bytes] = {}

        self.fold(rows, shown_until(row), row)

        assert rows == {}

    def test_an_end_that_comes_late_still_replaces(self) -> None:
        row = opened("acme", 1)
        rows = {key_of(row): codec.frame(row)}

        self.fold(rows, shown_until(row), ended(row))

        assert rows == {key_of(row): codec.frame(ended(row))}

    def test_a_later_record_drops_rows_of_its_partition_that_are_over(self) -> None:
        old = replace(opened("acme", 1), session_id=bytes(32))
        elsewhere = replace(old, session_id=bytes(31) + b"\x01")
        new = replace(opened("acme", 2, shown_until(old)), session_id=bytes(31) + b"\x04")
        rows: dict[bytes, bytes] = {}
        folding = Folding(SESSIONS, rows, Progress(), lambda: clock)
        clock = NOW
        for change in (old, elsewhere):
            folding.fold(key_of(change), codec.frame(change), keyed_partition(change.session_id), 0)
        clock = shown_until(old)
        folding.fold(key_of(new), codec.frame(new), 0, 1)

        assert set(rows) == {key_of(elsewhere), key_of(new)}

    def test_a_damaged_row_of_the_changelog_is_set_right(self) -> None:
        row = opened("acme", 1)
        rows = {key_of(row): b"damaged"}

        self.fold(rows, NOW, row)

        assert rows == {key_of(row): codec.frame(row)}
