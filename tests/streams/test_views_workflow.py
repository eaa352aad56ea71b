"""Attestations, approvals, the vault and delegations as the views show them: rules, questions, and what is poison."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import codec, topics
from schemas.changes import AttestationChanged, DelegationChanged
from streams.views.attestations import ATTESTATIONS
from streams.views.catalogue import VIEWS
from streams.views.context import CONTEXT
from streams.views.context import id_of as context_id
from streams.views.delegations import TREE_ROWS_MAX
from streams.views.view import SHOWN_AFTER_END_MS, Deadlines, View
from tests.streams.views_history import flat
from tests.streams.views_shown import GRANTED, ID, NOW, RECORD, REQUEST, SAMPLES, WRITTEN, Shown
from tests.world import HOUR_MS


@pytest.fixture
def shown(tmp_path: Path) -> Shown:
    return Shown(tmp_path)


class TestInjected:
    """Whoever can write to a topic of the views, and is no monitor."""

    @pytest.mark.parametrize(("view", "change"), SAMPLES, ids=[view.name for view, _ in SAMPLES])
    @pytest.mark.parametrize(
        "lie",
        [
            {"tenant": "bank"},
            {"origin": "demo/bank"},
            {"tenant": "bank", "origin": "demo/bank"},
            {"tenant": "ops", "origin": "demo/ops"},
            {"tenant": "acme/x", "origin": "demo/acme/x"},
            {"status": "asleep"},
            {"status": "expired"},
        ],
        ids=str,
    )
    def test_a_record_that_is_not_what_its_place_says_is_poison(
        self, shown: Shown, view: View[Any], change: Any, lie: dict[str, str]
    ) -> None:
        """A true row of acme stands, and a false one is written over its key."""
        shown.put(change)
        before = dict(shown.rows[view.name])
        false = codec.frame(replace(change, audit_index=99, **lie))

        shown.folding[view.source].fold(view.key_of(change), false, view.partition_of(change), 1)

        assert shown.rows[view.name] == before
        assert shown.progress.poison_records == 1

    @pytest.mark.parametrize(
        "change",
        [
            replace(REQUEST, id=b"short"),
            replace(REQUEST, session_id=b""),
            replace(REQUEST, kind="rumour"),
            replace(REQUEST, kind="grant"),
            replace(GRANTED, delegation=b"short"),
            replace(GRANTED, parent=b"short"),
            replace(GRANTED, parent=ID),
            replace(GRANTED, scope="{"),
            replace(GRANTED, scope="[" * 100_000),
        ],
        ids=[*"12345678", "deep"],
    )
    def test_parts_that_do_not_fit_are_poison(self, shown: Shown, change: Any) -> None:
        shown.put(change)

        assert all(rows == {} for rows in shown.rows.values())
        assert shown.progress.poison_records == 1

    @pytest.mark.parametrize(("view", "change"), SAMPLES, ids=[view.name for view, _ in SAMPLES])
    def test_another_key_or_partition_is_poison(self, shown: Shown, view: View[Any], change: Any) -> None:
        value, place = codec.frame(change), view.partition_of(change)

        for key, partition in ((None, place), (b"acme/00", place), (view.key_of(change), place + 1)):
            shown.folding[view.source].fold(key, value, partition, 0)

        assert shown.rows[view.name] == {}
        assert shown.progress.poison_records == 3

    @given(st.binary(max_size=80))
    def test_any_bytes_are_a_change_or_poison(self, value: bytes) -> None:
        for view, _ in SAMPLES:
            with pytest.raises(codec.SchemaError):
                view.read_change(b"k", value, 0)


class TestStatus:
    def test_a_request_that_ran_out_is_over_before_an_event_says_so(self, shown: Shown) -> None:
        shown.put(REQUEST)
        shown.now = shown.progress.as_of = NOW + 60_000

        assert shown.all("approvals") == []
        assert [one["status"] for one in shown.all("approvals", "status=timeout")] == ["timeout"]

    @pytest.mark.parametrize(
        ("change", "path", "status"),
        [
            (replace(RECORD, ends_at=NOW + 1), "attestations", "expired"),
            (replace(WRITTEN, ends_at=NOW + 1), "context?status=ended", "ended"),
            (replace(GRANTED, expires_at=NOW + 1), "delegations", "ended"),
        ],
    )
    def test_what_has_run_out_says_so(self, shown: Shown, change: Any, path: str, status: str) -> None:
        shown.put(change)
        shown.now = shown.progress.as_of = NOW + 1

        [row] = shown.get(path).json()[path.partition("?")[0]]
        assert row["status"] == status

    @pytest.mark.parametrize("change", [replace(RECORD, status="revoked"), replace(WRITTEN, status="deleted")])
    def test_what_was_ended_is_shown_for_a_while(self, shown: Shown, change: Any) -> None:
        path = "attestations" if isinstance(change, AttestationChanged) else "context"
        shown.put(change)
        for later, count in ((SHOWN_AFTER_END_MS - 1, 1), (SHOWN_AFTER_END_MS, 0)):
            shown.now = shown.progress.as_of = NOW + later
            assert len(shown.all(path, f"status={change.status}")) == count

    def test_a_row_that_a_changelog_left_goes_like_any_other(self, shown: Shown) -> None:
        """Its tenant may never say a word again."""
        shown.put(replace(RECORD, status="revoked"))
        shown.restart()
        shown.now = NOW + SHOWN_AFTER_END_MS
        other = RECORD.id[-1] % 4

        shown.folding[ATTESTATIONS.source].fold(b"acme/another", None, other, 0)

        assert shown.rows["attestations"] == {}

    def test_a_key_that_is_written_over_and_over_has_one_deadline(self) -> None:
        deadlines = Deadlines(CONTEXT)
        for index in range(1000):
            deadlines.note(b"k", replace(WRITTEN, audit_index=index, ends_at=NOW + index))
        rows = {b"k": codec.frame(replace(WRITTEN, ends_at=NOW + 999))}

        assert len(deadlines) == 1
        assert list(deadlines.due(rows, NOW + 998 + SHOWN_AFTER_END_MS)) == []
        assert list(deadlines.due(rows, NOW + 999 + SHOWN_AFTER_END_MS)) == [b"k"]

    def test_of_one_event_what_it_said_last_counts(self, shown: Shown) -> None:
        """The last approval makes the call go on: the request is whole, and then closed, by one record."""
        for status in ("approved", "cancelled"):
            shown.put(replace(REQUEST, status=status))

        assert [one["status"] for one in shown.all("attestations")] == ["cancelled"]

    def test_an_older_change_never_comes_back(self, shown: Shown) -> None:
        shown.put(replace(REQUEST, audit_index=9, status="denied"))
        shown.put(REQUEST)

        assert shown.all("approvals") == []


class TestTrees:
    def chain(self, *more: dict[str, Any]) -> list[DelegationChanged]:
        """Return delegations that hang on each other."""
        made: list[DelegationChanged] = []
        for number, what in enumerate(more):
            above = {"parent": made[-1].delegation} if made else {}
            fields = {"delegation": bytes([number]) * 32, "delegate": f"d{number}", **above, **what}
            made.append(replace(GRANTED, **fields))
        return made

    def test_a_revoked_one_takes_all_under_it_along(self, shown: Shown) -> None:
        for one in self.chain({}, {"status": "revoked"}, {}, {}):
            shown.put(one)

        [tree] = shown.all("delegations")
        assert [one["status"] for one in flat([tree])] == ["active", "revoked", "revoked", "revoked"]
        assert [one["delegate"] for one in flat([tree])] == ["d0", "d1", "d2", "d3"]

    def test_what_hangs_on_nothing_known_does_not_count(self, shown: Shown) -> None:
        shown.put(replace(GRANTED, parent=b"p" * 32))

        assert [one["status"] for one in shown.all("delegations")] == ["ended"]

    def test_a_revoked_one_is_shown_as_long_as_what_hangs_on_it(self, shown: Shown) -> None:
        for one in self.chain(
            {"status": "revoked", "expires_at": NOW + 9 * HOUR_MS}, {"expires_at": NOW + 9 * HOUR_MS}
        ):
            shown.put(one)
        shown.now = shown.progress.as_of = NOW + 8 * HOUR_MS

        assert [one["status"] for one in flat(shown.all("delegations"))] == ["revoked", "revoked"]

    def test_a_circle_is_shown_nowhere_and_ends(self, shown: Shown) -> None:
        one, two = b"1" * 32, b"2" * 32
        shown.put(replace(GRANTED, delegation=one, parent=two))
        shown.put(replace(GRANTED, delegation=two, parent=one))

        assert shown.all("delegations") == []

    def test_a_large_tree_is_cut_and_says_so(self, shown: Shown) -> None:
        shown.put(GRANTED)
        for number in range(TREE_ROWS_MAX + 9):
            shown.put(replace(GRANTED, delegation=number.to_bytes(31, "big") + b"\xff", parent=ID))
        shown.put(replace(GRANTED, delegation=b"\xfe" * 32))

        first = shown.get("delegations").json()
        assert len(list(flat(first["delegations"]))) == TREE_ROWS_MAX
        assert first["delegations"][0]["children_left_out"] == 10
        second = shown.get(f"delegations?after={first['next']}").json()
        assert ([one["id"] for one in second["delegations"]], second["next"]) == (["fe" * 32], None)


class TestQuestions:
    @pytest.mark.parametrize(
        "question",
        [
            "attestations?status=open",
            "attestations?kind=rumour",
            "attestations?kind=",
            "attestations?key=",
            "attestations?key=" + "k" * 513,
            "attestations?key=%00",
            "attestations?session=12",
            "attestations?session=" + "A" * 64,
            "attestations?scope=team",
            "attestations?kind=grant&kind=grant",
            "approvals?status=active",
            "approvals?status=pending&status=denied",
            "approvals?kind=request",
            "context?scope=",
            "context?scope=%E2%80%AE",
            "context?status=active",
            "context?value=1",
            "delegations?status=active",
            "delegations?limit=0",
            "delegations?limit=1001",
            "delegations?after=x",
            "sessions/12",
            "sessions/" + "G" * 64,
            "sessions/" + "0" * 64 + "?limit=1",
        ],
    )
    def test_a_question_that_is_not_well_put_is_refused_by_name(self, shown: Shown, question: str) -> None:
        answer = shown.get(question)

        assert answer.status_code == 400
        assert answer.json()["code"] == "QUESTION_MALFORMED"

    def test_each_filter_filters(self, shown: Shown) -> None:
        for number, what in enumerate(
            ({}, {"kind": "record", "status": "active"}, {"key": "other"}, {"session_id": b"t" * 32})
        ):
            shown.put(replace(REQUEST, id=bytes([number]) * 32, **what))

        def ids(query: str) -> list[str]:
            return [one["id"][:2] for one in shown.all("attestations", query)]

        assert ids("kind=record") == ids("status=active") == ["01"]
        assert ids("key=other") == ["02"]
        assert ids("key=manager&kind=request") == ["00", "03"]
        assert ids(f"session={(b't' * 32).hex()}&status=pending") == ["03"]
        assert [one["id"][:2] for one in shown.all("approvals", "key=other")] == ["02"]

    def test_a_filter_compares_whole_texts(self, shown: Shown) -> None:
        """Rows are first picked by bytes that they hold somewhere."""
        shown.put(replace(WRITTEN, scope="team", key="a"))
        shown.put(replace(WRITTEN, scope="team-b", key="team"))

        assert [one["key"] for one in shown.all("context", "scope=team")] == ["a"]

    def test_a_page_may_be_short_and_still_name_a_next_one(self, shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
        """What one page looks at is bounded, and nothing is lost by that."""
        monkeypatch.setattr("streams.views.view.LOOKED_AT_MAX", 4)
        for number in range(20):
            status = "active" if number % 9 == 8 else "revoked"
            shown.put(replace(RECORD, id=bytes([number]) * 32, status=status))

        first = shown.get("attestations?status=active").json()
        assert (first["attestations"], first["next"]) == ([], "03" * 32)
        assert [one["id"][:2] for one in shown.all("attestations", "status=active")] == ["08", "11"]

    def test_a_key_of_the_vault_has_one_row_whatever_becomes_of_it(self, shown: Shown) -> None:
        for index, (status, version) in enumerate((("set", 1), ("deleted", 1), ("set", 3))):
            shown.put(replace(WRITTEN, audit_index=index, status=status, version=version))

        [row] = shown.all("context")
        assert (row["id"], row["version"]) == (context_id(WRITTEN).hex(), 3)


def test_every_topic_that_the_fold_tells_the_views_has_a_view() -> None:
    assert {view.source for view in VIEWS} == {topic for topic in topics.OPS_TOPICS if topic.writers == ("monitor",)}
