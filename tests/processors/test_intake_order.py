"""Time and order on intake, to the millisecond."""

import pytest

from schemas import limits
from schemas.rows import SequenceRow
from tests.builders import invocation
from tests.spoiling import good
from tests.world import HOUR_MS, Office, World


@pytest.fixture
def office() -> Office:
    """A tenant at work."""
    return Office.opened()


@pytest.mark.parametrize("how_late", [0, 1])
@pytest.mark.parametrize(
    ("bound", "reason"), [("behind", "STALE"), ("ahead", "FUTURE"), ("numbered", "FUTURE")], ids=str.lower
)
def test_the_bounds_of_time_are_exact(office, bound, reason, how_late):
    """At a bound an event is heard, one unit beyond it is not."""
    now = office.world.now
    tampering = {
        "behind": {"issued_at": now - limits.ISSUED_BEHIND_MS_MAX - how_late},
        "ahead": {"issued_at": now + limits.ISSUED_AHEAD_MS_MAX + how_late},
        "numbered": {"seq": (now + limits.SEQ_AHEAD_MS_MAX) * 1000 + how_late},
    }[bound]

    assert office.call(**tampering).says == (("refused", reason) if how_late else ("allowed", ""))


def test_a_session_is_heard_until_the_millisecond_in_which_it_ends(office):
    """A session of one hour is valid while now < start + one hour."""
    office.world.advance(HOUR_MS - 1)
    assert office.call().says == ("allowed", "")
    office.world.advance(1)
    assert office.call().says == ("refused", "EXPIRED_SESSION")


def test_log_time_never_runs_backwards(office):
    """A broker clock that jumps back does not: the time of the log stays, and judges."""
    world = office.world
    issued = world.now
    folded = world.fold(*good(office), appended_at=issued - 10_000_000)

    assert folded.says == ("allowed", "")
    assert folded.entry.now == issued


def test_the_sequence_of_a_key_is_its_last_good_event(office):
    """The row of a key names the last event that was in order, by its leaf."""
    seq = office.world.next_seq(office.session)
    folded = office.call(seq=seq)

    row = office.world.tables.sequences.rows[office.session.kid]
    assert row == SequenceRow(seq=seq, leaf=folded.entry.event)


def test_a_refused_event_is_answered_once():
    """Whoever writes it to intake again gets no second answer out of the monitor."""
    office = Office.opened("once")
    value, headers = office.world.signed(invocation(office.resource), office.session, principal_id="admin")

    first = office.world.fold(value, headers)
    again = office.world.fold(value, headers)

    assert first.says == ("refused", "WRONG_PRINCIPAL")
    assert len(first.results) == 1
    assert again.says == ("refused", "DUPLICATE")
    assert again.results == []


def test_a_strangers_founding_event_is_neither_answered_nor_remembered():
    """Before the tenant stands, only its own founding event is more than bytes."""
    world, stranger = World("mine"), World("yours")
    folded = world.fold(*stranger.signed(stranger.founding, stranger.admin))

    assert folded.says[0] == "refused"
    assert folded.results == []
    assert not any(table.rows for table in world.tables.by_name.values())
