"""The rules of the sessions view, as values."""

import io
import json
from dataclasses import replace

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import codec
from schemas.changes import SessionChanged
from schemas.records import DeadLetter
from schemas.topics import keyed_partition
from schemas.words import Status
from streams.views.progress import AS_OF_MS_MAX, LostRecordError, Phase, Progress
from streams.views.sessions import SESSIONS, describe, shown_until, status_of
from streams.views.view import (
    DROPPED_PER_CHANGE_MAX,
    SHOWN_AFTER_END_MS,
    Deadlines,
    JSONRow,
    Page,
    PageQuery,
    fold_change,
    row_key,
    select_page,
)

NOW = 1_800_000_000_000
MINUTE = 60_000
FIRST_ID = 18  # of the schema of SessionChanged before it had an issuer

OPENED = SessionChanged(
    origin="demo/acme",
    audit_index=7,
    tenant="acme",
    session_id=bytes(range(32)),
    principal_id="shopper",
    role="agent",
    status="open",
    opened_at=NOW,
    expires_at=NOW + MINUTE,
    at=NOW,
)
ENDED = replace(OPENED, audit_index=9, status="ended", expires_at=NOW + 5, at=NOW + 5)


def key_of(row: SessionChanged) -> bytes:
    return row_key(row.tenant, row.session_id.hex())


def table(*rows: SessionChanged) -> dict[bytes, bytes]:
    return {key_of(row): codec.frame(row) for row in rows}


def page_of(rows: dict[bytes, bytes], question: PageQuery, now: int, status: Status | None = None) -> Page:
    def wanted(row: SessionChanged, at: int) -> JSONRow | None:
        return describe(row, at) if status in {None, status_of(row, at)} else None

    return select_page(SESSIONS, rows, question, now, wanted)


def numbered(number: int, **more: object) -> SessionChanged:
    return replace(OPENED, session_id=number.to_bytes(32, "big"), audit_index=number, **more)  # type: ignore[arg-type]


class TestFold:
    def test_the_first_change_is_the_row(self) -> None:
        assert fold_change(None, OPENED) is OPENED

    def test_an_end_follows_an_opening(self) -> None:
        assert fold_change(OPENED, ENDED) is ENDED

    def test_an_older_index_never_overwrites(self) -> None:
        assert fold_change(ENDED, OPENED) is ENDED

    def test_of_one_event_what_it_wrote_last_is_the_row(self) -> None:
        """An approval may be given, and used up, by one event."""
        other = replace(OPENED, status="ended")

        assert fold_change(OPENED, other) is other

    def test_a_log_that_was_founded_anew_wins_by_time(self) -> None:
        """Its indexes begin at 0 again and say nothing about those of the log before."""
        anew = replace(OPENED, origin="other/acme", audit_index=0, at=NOW + 1)

        assert fold_change(OPENED, anew) is anew
        assert fold_change(anew, OPENED) is anew

    @given(st.permutations([replace(OPENED, audit_index=i) for i in (3, 5, 5, 8, 13)]))
    def test_the_order_of_arrival_does_not_matter(self, changes: list[SessionChanged]) -> None:
        row: SessionChanged | None = None
        for change in changes:
            row = fold_change(row, change)

        assert row is not None
        assert row.audit_index == 13


class TestStatus:
    @pytest.mark.parametrize(("now", "status"), [(NOW + MINUTE - 1, Status.OPEN), (NOW + MINUTE, Status.ENDED)])
    def test_an_open_session_ends_when_it_expires(self, now: int, status: Status) -> None:
        """No event says so until much later."""
        assert status_of(OPENED, now) is status

    def test_an_ended_session_stays_ended(self) -> None:
        assert status_of(replace(ENDED, expires_at=NOW + MINUTE), NOW) is Status.ENDED

    def test_a_row_is_shown_for_a_time_after_its_end(self) -> None:
        """Counted from what came first: the expiry, or the change that ended it."""
        assert shown_until(OPENED) == OPENED.expires_at + SHOWN_AFTER_END_MS
        assert shown_until(replace(ENDED, expires_at=NOW + MINUTE)) == ENDED.at + SHOWN_AFTER_END_MS
        assert shown_until(replace(ENDED, at=NOW + MINUTE)) == ENDED.expires_at + SHOWN_AFTER_END_MS


class TestReadChange:
    def read(self, change: object, **more: object) -> SessionChanged:
        arguments = {"key": key_of(OPENED), "partition": keyed_partition(OPENED.session_id), **more}
        return SESSIONS.read_change(value=codec.frame(change), **arguments)  # type: ignore[arg-type]

    def test_a_change_in_its_place_is_read(self) -> None:
        assert self.read(OPENED) == OPENED

    @pytest.mark.parametrize(
        "change",
        [
            replace(OPENED, tenant="acme/b"),
            replace(OPENED, tenant="ops"),
            replace(OPENED, session_id=b"short"),
            replace(OPENED, status="asleep"),
            replace(OPENED, tenant="other"),
            DeadLetter(partition=0, offset=0, audit_index=0, reason="", value=b"", size=0),
        ],
        ids=["slash", "reserved", "session id", "status", "another's key", "another record"],
    )
    def test_another_record_is_refused(self, change: object) -> None:
        with pytest.raises(codec.SchemaError):
            self.read(change)

    @pytest.mark.parametrize("more", [{"key": None}, {"key": b"acme/00"}, {"partition": 0}])
    def test_a_record_in_the_place_of_another_session_is_refused(self, more: dict[str, object]) -> None:
        """Compaction would let it replace the row of somebody else."""
        with pytest.raises(codec.SchemaError):
            self.read(OPENED, **more)

    @given(st.binary(max_size=64))
    def test_any_bytes_are_a_change_or_a_schema_error(self, value: bytes) -> None:
        with pytest.raises(codec.SchemaError):
            SESSIONS.read_change(b"k", value, 0)


class TestPage:
    ROWS = table(*(numbered(i) for i in range(1, 6)))

    def test_pages_follow_each_other_and_lose_nothing(self) -> None:
        seen: list[int] = []
        after: str | None = ""
        while after is not None:
            page = page_of(self.ROWS, PageQuery(tenant="acme", limit=2, after=after), NOW)
            seen += [int(str(row["audit_index"])) for row in page.rows]
            after = page.next

        assert seen == [1, 2, 3, 4, 5]

    def test_a_page_that_holds_all_names_no_next(self) -> None:
        assert page_of(self.ROWS, PageQuery(tenant="acme", limit=5), NOW).next is None

    def test_a_tenant_sees_no_rows_of_one_whose_name_begins_alike(self) -> None:
        rows = table(OPENED, replace(OPENED, tenant="acme-two"), replace(OPENED, tenant="acm"))

        assert len(page_of(rows, PageQuery(tenant="acme"), NOW).rows) == 1

    def test_the_status_is_that_of_the_moment(self) -> None:
        rows = table(numbered(1), numbered(2, expires_at=NOW))

        [still] = page_of(rows, PageQuery(tenant="acme"), NOW, Status.OPEN).rows
        [over] = page_of(rows, PageQuery(tenant="acme"), NOW, Status.ENDED).rows
        assert (still["audit_index"], still["status"], over["audit_index"], over["status"]) == (1, "open", 2, "ended")

    def test_a_filtered_page_counts_only_what_it_shows(self) -> None:
        rows = table(*(numbered(i, status="open" if i % 2 else "ended") for i in range(1, 6)))

        page = page_of(rows, PageQuery(tenant="acme", limit=2), NOW, Status.OPEN)

        assert ([row["audit_index"] for row in page.rows], page.next) == ([1, 3], numbered(4).session_id.hex())

    def test_a_row_that_is_over_is_not_shown_though_nothing_has_dropped_it(self) -> None:
        until = shown_until(OPENED)

        assert len(page_of(table(OPENED), PageQuery(tenant="acme"), until - 1).rows) == 1
        assert page_of(table(OPENED), PageQuery(tenant="acme"), until).rows == ()


class TestDeadlines:
    def test_rows_are_due_when_they_are_shown_no_more(self) -> None:
        deadlines = Deadlines(SESSIONS)
        deadlines.note(key_of(OPENED), OPENED)

        assert list(deadlines.due(table(OPENED), shown_until(OPENED) - 1)) == []
        assert list(deadlines.due(table(OPENED), shown_until(OPENED))) == [key_of(OPENED)]
        assert list(deadlines.due(table(OPENED), shown_until(OPENED))) == []

    def test_a_row_that_lasts_longer_now_stays(self) -> None:
        renewed = replace(OPENED, audit_index=8, expires_at=OPENED.expires_at + MINUTE)
        deadlines = Deadlines(SESSIONS)
        deadlines.note(key_of(OPENED), OPENED)
        deadlines.note(key_of(OPENED), renewed)

        assert list(deadlines.due(table(renewed), shown_until(OPENED))) == []
        assert list(deadlines.due(table(renewed), shown_until(renewed))) == [key_of(OPENED)]

    def test_one_change_drops_a_bounded_number(self) -> None:
        rows = [numbered(i) for i in range(DROPPED_PER_CHANGE_MAX + 1)]
        deadlines = Deadlines(SESSIONS)
        for row in rows:
            deadlines.note(key_of(row), row)

        assert len(list(deadlines.due(table(*rows), shown_until(OPENED)))) == DROPPED_PER_CHANGE_MAX
        assert len(list(deadlines.due(table(*rows), shown_until(OPENED)))) == 1


P0, P1 = ("macaw.ops.sessions", 0), ("macaw.ops.context", 0)


class TestProgress:
    def test_an_empty_source_is_the_truth_once_its_end_is_known(self) -> None:
        progress = Progress()
        assert not progress.is_ready(NOW)

        progress.aim(NOW, {P0: 0, P1: 0})
        progress.settle({P0: 0, P1: 0})

        assert progress.is_ready(NOW)
        assert progress.as_of == NOW

    def test_it_waits_for_every_partition(self) -> None:
        progress = Progress()
        progress.aim(NOW, {P0: 3, P1: 5})
        progress.settle({P0: 3, P1: 4})

        assert progress.phase is Phase.READING
        assert not progress.is_ready(NOW)

    def test_a_record_that_was_pulled_must_be_folded_first(self) -> None:
        """The reader's position runs ahead of the table."""
        progress = Progress()
        progress.note_pulled(P0, [0, 1])
        progress.note_folded(P0, 0)
        progress.aim(NOW, {P0: 3})
        progress.settle({P0: 3})
        assert not progress.is_ready(NOW)

        progress.note_folded(P0, 1)
        progress.settle({P0: 3})
        assert progress.is_ready(NOW)

    def test_the_time_vouched_for_is_that_of_the_question(self) -> None:
        """Under a steady stream the end moves on; what was asked for is kept until it is reached."""
        progress = Progress()
        progress.aim(NOW, {P0: 3})
        progress.aim(NOW + 1000, {P0: 9})
        progress.settle({P0: 4})

        assert progress.as_of == NOW

    def test_a_lost_record_is_noticed(self) -> None:
        progress = Progress()
        progress.note_pulled(P0, [4, 6, 7])
        progress.note_folded(P0, 4)

        with pytest.raises(LostRecordError):
            progress.note_folded(P0, 7)

    def test_a_record_that_comes_again_is_no_loss(self) -> None:
        progress = Progress()
        progress.note_pulled(P0, [4, 6])
        progress.note_folded(P0, 3)
        progress.note_folded(P0, 4)
        progress.note_folded(P0, 4)
        progress.note_folded(P0, 6)
        progress.note_folded(P0, 5)

        progress.aim(NOW, {P0: 7})
        progress.settle({P0: 7})
        assert progress.is_ready(NOW)

    def test_reading_anew_takes_the_view_away(self) -> None:
        progress = Progress()
        progress.note_pulled(P0, [0])
        progress.note_folded(P0, 0)
        progress.aim(NOW, {P0: 1})
        progress.settle({P0: 1})

        progress.begin_anew()

        assert not progress.is_ready(NOW)
        assert progress.sentence(NOW) == Phase.READING.value

    def test_a_view_that_falls_behind_is_taken_away(self) -> None:
        progress = Progress()
        progress.aim(NOW, {P0: 0})
        progress.settle({P0: 0})

        assert progress.is_ready(NOW + AS_OF_MS_MAX)
        assert not progress.is_ready(NOW + AS_OF_MS_MAX + 1)
        assert "15 s" in progress.sentence(NOW + AS_OF_MS_MAX + 1)


def test_a_row_of_an_older_monitor_is_read() -> None:
    """Its record lacks the members that came later; the rest counts, and they are unknown."""
    old = codec.published()[FIRST_ID]
    schema = json.loads(old.text)
    body = io.BytesIO()
    fastavro.schemaless_writer(body, schema, {one["name"]: getattr(OPENED, one["name"]) for one in schema["fields"]})
    row = codec.decode_as(SessionChanged, old.prefix + body.getvalue())

    assert schema["fields"][-1]["name"] == "at"
    assert row == OPENED
    assert (row.attributes, row.opened_by, row.issuer, row.actors) == (None, None, "", ())
