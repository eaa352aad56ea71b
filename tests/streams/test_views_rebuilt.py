"""Rebuilt from the first record, the views equal the fold's own tables; and what nobody may see in them."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from processors.effects import Output
from producers.home.home import Home
from schemas import codec
from schemas.records import Decision
from schemas.topics import DECISIONS, KEYED_PARTITIONS
from streams.local.choose import EmbeddedBroker
from streams.views.catalogue import VIEWS
from streams.views.progress import Phase
from streams.views.topics import create_view_topics
from tests.streams.views_history import MINUTE_MS, SECRET, Chance, History, answers_say, tables_say
from tests.streams.views_shown import PATHS, Shown
from tests.streams.views_world import World, Writer
from tests.waiting import PATIENCE_SECONDS
from tests.world import HOUR_MS


@pytest.fixture
def shown(tmp_path: Path) -> Shown:
    return Shown(tmp_path)


@pytest.fixture(scope="module")
def history() -> History:
    history = History.opened()
    assert isinstance(history, History)
    return history.play()


@pytest.fixture
def played(tmp_path: Path, history: History) -> Shown:
    shown = Shown(tmp_path, history.now)
    shown.read(history)
    return shown


class TestRebuilt:
    """The mixed history of `views_history`, through the real fold."""

    def test_the_views_equal_the_folds_own_tables(self, played: Shown, history: History) -> None:
        want = tables_say(history)

        assert played.progress.poison_records == 0
        assert answers_say(played.whole()) == want
        assert all(want.values())  # an empty table would show nothing

    def test_read_twice_and_in_pieces_they_are_the_same(self, played: Shown, history: History, tmp_path: Path) -> None:
        """A start reads everything again over what a changelog left, from whatever moment that is."""
        whole, count = played.whole(), len(list(history.changes()))
        for until in range(0, count, 7):
            again = Shown(tmp_path / str(until), history.now)
            again.read(history, until=until)
            again.restart()
            again.read(history)
            assert again.rows == played.rows, until
            assert again.whole() == whole

    def test_rows_that_are_over_are_dropped_as_time_passes(self, played: Shown, history: History) -> None:
        """What is left after a year is what no word has ended: keys of a shared scope, and grants without an end."""
        played.now = played.progress.as_of = history.now + 400 * 24 * HOUR_MS
        for name, view in ((view.name, view) for view in VIEWS):
            for partition in range(4):
                played.folding[view.source].fold(b"none", None, partition, 0)
            left = [view.read_row(value) for value in played.rows[name].values()]
            assert all(row is not None and row.status in {"set", "active"} for row in left), name

        assert sorted(one["key"] for one in played.all("context")) == ["ledger", "old"]
        assert played.all("delegations") == []

    def test_how_requests_ended_is_told_with_who_had_said_yes(self, played: Shown) -> None:
        ended = {
            status: played.all("approvals", f"status={status}")
            for status in ("approved", "denied", "timeout", "cancelled")
        }

        assert sorted((one["key"], one["approved_by"]) for one in ended["approved"]) == [
            ("gone", ["user:dave"]),
            ("often", ["user:carol"]),
            ("once", ["user:carol", "user:dave"]),
            ("single", ["user:carol"]),
        ]
        assert [one["key"] for one in ended["denied"]] == ["once"]
        assert [one["key"] for one in ended["timeout"]] == ["late"]
        assert [one["key"] for one in ended["cancelled"]] == ["once"]

    def test_a_session_is_shown_with_all_that_hangs_on_it(self, played: Shown, history: History) -> None:
        session = played.get(f"sessions/{history.bot.kid.hex()}").json()["session"]

        own = f"session:{history.bot.kid.hex()}"
        assert session["principal_id"] == "bot"
        assert {(one["scope"], one["key"]) for one in session["context"]} == {(own, "note"), (own, "plan")}
        assert session["attestations"] == played.all("attestations", f"session={history.bot.kid.hex()}")
        assert {one["key"] for one in session["attestations"]} >= {"mailed", "checked.again", "once"}
        assert [one["delegate"] for one in session["delegations"]] == ["one"] * 3
        assert session["more"] == []

    def test_a_vault_value_is_nowhere(self, played: Shown, history: History) -> None:
        """Neither on a topic of the views, nor in any answer; nor what a tool attested."""
        assert any(SECRET in str(row.value) for row in history.tables.vault.rows.values())
        for one in history.changes():
            assert SECRET.encode() not in (one.value or b"") + (one.key or b"")
        for path in (*PATHS, *(f"sessions/{one['session_id']}" for one in played.all("sessions"))):
            assert SECRET not in played.get(path).text


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_the_views_equal_the_folds_own_tables(tmp_path: Path, seed: int) -> None:
    chance = Chance.opened(f"chance-{seed}")
    assert isinstance(chance, Chance)
    shown = Shown(tmp_path, chance.happen(seed, 250).now)
    shown.read(chance)

    assert shown.progress.poison_records == 0
    assert answers_say(shown.whole()) == tables_say(chance)
    assert not any(SECRET.encode() in (one.value or b"") for one in chance.changes())


class TestWhoSees:
    @pytest.mark.parametrize("path", [*PATHS, f"sessions/{'0' * 64}", "approvals?status=nonsense"])
    def test_another_tenants_token_gets_what_a_stranger_gets(self, played: Shown, path: str) -> None:
        """Nobody can tell a tenant that is here from one that is not."""
        answers = {
            (one.status_code, one.content, tuple(sorted(one.headers.items())))
            for tenant in ("acme", "ghost", "ops")
            for one in (played.get(path, token, tenant) for token in ("b" * 43, "", "x" * 43))
        }

        assert len(answers) == 1
        assert next(iter(answers))[0] == 401

    def test_a_token_shows_its_own_tenant_only(self, played: Shown) -> None:
        for path in PATHS:
            assert played.get(path, "b" * 43, "bank").json()[path] == []

    def test_a_session_of_another_tenant_is_not_there(self, shown: Shown, history: History) -> None:
        shown.read(history)

        assert shown.get(f"sessions/{history.bot.kid.hex()}", "b" * 43, "bank").status_code == 404

    @pytest.mark.parametrize("path", [*PATHS, f"sessions/{'0' * 64}"])
    def test_nothing_is_told_before_it_is_known(self, played: Shown, path: str) -> None:
        played.progress.wait_in(Phase.RECOVERING)

        answer = played.get(path)

        assert (answer.status_code, answer.json()["ready"]) == (503, False)


@pytest.fixture(params=["best", "embedded"])
def bootstrap(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The broker of the run, and the embedded one."""
    if request.param == "best":
        yield request.getfixturevalue("broker").bootstrap
        return
    with EmbeddedBroker(tmp_path / "broker") as running:
        yield running.info.bootstrap


def decision_in(output: Output) -> Decision:
    found: Decision = codec.decode_as(Decision, output.value or b"")
    return found


@pytest.mark.broker
def test_on_a_broker_a_process_rebuilds_them_and_so_does_the_one_after_it(
    bootstrap: str, tmp_path: Path, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In transactions, some aborted; killed in between; what happened meanwhile is there. No value, no other tenant."""
    create_view_topics(bootstrap)
    # The process has the real clock, so the history ends now.
    monkeypatch.setattr("tests.world.START_MS", time.time_ns() // 1_000_000 - 2 * MINUTE_MS)
    history = History.opened(tenant=unique).play()
    told = [(one.topic.of(""), one.key, one.value, one.partition) for one in history.changes()]
    decided = [one for folded in history.log for one in folded.outputs if one.topic is DECISIONS]
    calls = Counter(session for session, _ in {(d.session_id.hex(), d.event) for d in map(decision_in, decided)})
    with AdminClient({"bootstrap.servers": bootstrap}) as admin:
        topic = NewTopic(DECISIONS.of(unique), KEYED_PARTITIONS, 1, config=DECISIONS.config())
        admin.create_topics([topic])[topic.topic].result(PATIENCE_SECONDS)
    world = World(bootstrap, tmp_path, unique, Home.create(tmp_path, {}), Writer(bootstrap, unique))
    for tenant in (unique, f"{unique}-b"):
        world.add_tenant(tenant)

    def all_of(views: Any, tenant: str) -> dict[str, Any]:
        return {path: views.get(tenant, f"{path}?limit=1000")[path] for path in PATHS}

    half = len(told) // 2
    world.writer.write_to(*told[:half])
    world.writer.write_to(*told[half:], commit=False)
    with world.views() as views:
        assert answers_say(all_of(views, unique)) != tables_say(history)
        views.stop(kill=True)
    world.writer.write_to(*((DECISIONS.of(unique), one.key, one.value, one.partition) for one in decided))
    for at in range(half, len(told), 50):
        world.writer.write_to(*told[at : at + 50])
    for _ in range(2):
        with world.views() as views:
            answers = all_of(views, unique)
            assert answers_say(answers) == tables_say(history)
            assert {one["session_id"]: one["calls"] for one in answers["sessions"] if one["calls"]} == calls
            assert SECRET not in str(answers)
            assert not any(all_of(views, f"{unique}-b").values())
