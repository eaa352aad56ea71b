"""What stands beside a committed offset, and what an instance makes of the records that it reads again."""

from __future__ import annotations

from pathlib import Path

import pytest

from producers.tools import commitments
from producers.tools.admission import EVENT_AGE_MS_MAX, EVENT_AHEAD_MS_MAX
from producers.tools.commitments import (
    AGAIN_MAX,
    AGAIN_SECONDS,
    MARK_SECONDS,
    REMEMBERED_SECONDS,
    Commitment,
    Ownership,
    Share,
)
from producers.tools.executed import ExecutedCalls

BROKER_METADATA_BYTES_MAX = 4096  # `offset.metadata.max.bytes` of Apache Kafka, as it comes
LATER_MS = 2**52


@pytest.mark.parametrize("commitment", [Commitment(9), Commitment(9, 3), Commitment(9, 0, (4, 8)), Commitment(0)])
def test_what_was_committed_is_read_again(commitment: Commitment) -> None:
    """An offset and its metadata say what the writer knew."""
    assert Commitment.read(commitment.offset, commitment.metadata) == commitment


def test_the_longest_metadata_is_taken_by_a_broker() -> None:
    """With as many calls as may be listed, at the highest offsets."""
    top = 2**63 - 1
    metadata = Commitment(top, top, tuple(range(top - AGAIN_MAX, top))).metadata

    assert len(metadata) <= BROKER_METADATA_BYTES_MAX


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        "",
        "1",
        "1 x ",
        "2 0 ",
        "1 10 ",
        "1 0 9",
        "1 0 4,",
        "1 0 -4",
        "1 0 4 ",
        "1 0 ٤",
        "1 0 " + "1," * AGAIN_MAX + "1",
    ],
)
def test_foreign_metadata_redelivers_nothing_and_forgets_nothing(metadata: str | None) -> None:
    """Whoever shares the group may write there: what is not ours costs reading back, never an execution."""
    assert Commitment.read(9, metadata) == Commitment(9, since=0, again=())


def test_nothing_committed_is_the_beginning() -> None:
    """Kafka says so with a negative offset."""
    assert Commitment.read(-1001, "1 5 3") == Commitment(0)


def ownerships(share: Share, offsets: range) -> list[Ownership]:
    return [share.ownership(offset) for offset in offsets]


def test_a_new_owner_remembers_redelivers_and_begins() -> None:
    """Each offset is one of the three, and reading starts at the first that matters."""
    share = Share()

    assert share.resume(Commitment(6, 2, (3, 5)), now=0) == 2
    assert ownerships(share, range(2, 8)) == [
        *(Ownership.PAST, Ownership.AGAIN, Ownership.PAST, Ownership.AGAIN),
        *(Ownership.NEW, Ownership.NEW),
    ]


def test_reading_starts_at_an_unfinished_call_that_is_older_than_the_rest() -> None:
    """It may stand below everything else."""
    assert Share().resume(Commitment(6, 5, (1,)), now=0) == 1


def test_a_call_that_runs_here_is_not_begun_here_again() -> None:
    """The partition went away and came back: what another one would take up is still ours."""
    share = Share()
    share.resume(Commitment(0), now=0)
    taken = share.advance(2, [0, 1], now=0)
    share.accept(taken, now=0)
    share.begin(0, now=0)
    share.begin(1, now=0)
    share.finished(1)

    share.resume(Commitment.read(taken.offset, taken.metadata), now=1)

    assert ownerships(share, range(2)) == [Ownership.PAST, Ownership.AGAIN]


def test_what_is_not_read_yet_stays_committed_as_unfinished() -> None:
    """A commit between the records of the instance before: a second death must not lose what is left of the first."""
    share = Share()
    share.resume(Commitment(6, 0, (3, 5)), now=0)
    assert share.ownership(3) is Ownership.AGAIN
    share.begin(3, now=0)
    share.finished(3)

    assert share.is_outdated
    assert share.advance(6, [], now=0).again == (5,)
    share.ownership(6)
    assert share.advance(7, [], now=0).again == ()


def test_a_call_that_never_ends_is_let_go() -> None:
    """Redelivered so late it would be refused."""
    share = Share()
    share.resume(Commitment(0), now=0)
    share.begin(0, now=0)

    assert share.advance(1, [], now=AGAIN_SECONDS).again == (0,)
    assert share.advance(1, [], now=AGAIN_SECONDS + 1).again == ()


def test_the_window_moves_only_over_what_no_second_decision_can_follow() -> None:
    """It never starts above a decision that was read less than the longest time ago."""
    share, read_at = Share(), {}
    share.resume(Commitment(0), now=0)
    for offset, second in enumerate(range(0, int(3 * REMEMBERED_SECONDS), 5)):
        read_at[offset] = second
        commitment = share.advance(offset + 1, [], now=second)
        share.accept(commitment, now=second)

        assert all(second - read_at[n] > REMEMBERED_SECONDS for n in range(commitment.since))
    assert second - read_at[commitment.since] <= REMEMBERED_SECONDS + 2 * MARK_SECONDS
    assert (EVENT_AGE_MS_MAX + EVENT_AHEAD_MS_MAX) / 1000 < REMEMBERED_SECONDS


def test_an_instance_does_not_read_back_what_it_noted_itself() -> None:
    """It lost the partition and got it again; between, another one went on to 9."""
    share = Share()
    share.resume(Commitment(0), now=0)
    share.remember(5)

    assert share.resume(Commitment(9, 0), now=1) == 5


def test_an_offset_that_was_set_back_is_obeyed() -> None:
    """Below what was noted nothing is lost: the durable set refuses what ran."""
    share = Share()
    share.resume(Commitment(0), now=0)
    share.remember(5)

    assert share.resume(Commitment(3, 0), now=1) == 3
    assert share.ownership(3) is Ownership.NEW


def test_more_calls_than_fit_are_promised_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest are listed."""
    monkeypatch.setattr(commitments, "AGAIN_MAX", 2)
    share = Share()
    share.resume(Commitment(0), now=0)

    assert share.advance(9, [5, 3, 7], now=0).again == (3, 5)


def test_of_two_decisions_in_one_batch_the_first_may_run(tmp_path: Path) -> None:
    """Also when both are noted at once; and a set that is opened again still knows."""
    event, other = b"e" * 32, b"f" * 32
    calls = ExecutedCalls(tmp_path / "executed.db")

    assert calls.begin([(event, b"1", LATER_MS), (other, b"1", LATER_MS), (event, b"2", LATER_MS)], now_ms=0) == [
        *(None, None, b"1")
    ]
    calls.close()
    again = ExecutedCalls(tmp_path / "executed.db")
    assert again.begin([(event, b"2", LATER_MS), (other, b"1", LATER_MS)], now_ms=0) == [b"1", b"1"]
    again.close()
