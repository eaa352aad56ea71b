"""The answer to a limited caller is true, also after a clock that was ahead (docs/mapl.md 9, ADR 0016)."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.policy.call import Circumstances
from processors.policy.decide import decide, index_policies
from processors.policy.evaluation import Lookups
from processors.policy.resolve import Subject
from processors.policy.verdict import Verdict
from tests.builders import Folded, invocation
from tests.processors.policy.written import policies_of
from tests.world import Office

EVE = Subject(user="eve")


class Bucket:
    """One caller under one rate, on a clock that may step."""

    def __init__(self, per_minute: int) -> None:
        self._index = index_policies(
            policies_of([{"policy_id": "user:eve", "resources": ["**"], "constraints": {"rate_limit": per_minute}}])
        )
        self._arrivals: dict[bytes, int] = {}
        self._log_time = 0

    def ask(self, appended: int) -> Verdict:
        """Return the verdict on a call, and charge it."""
        self._log_time = max(self._log_time, appended)
        tables = Lookups(buckets=lambda key: self._arrivals.get(key, 0))
        call = Circumstances(now=self._log_time, appended=appended, tables=tables)
        verdict = decide(self._index, EVE, "tool:x", {}, call)
        self._arrivals |= verdict.effects.buckets
        return verdict


@given(
    st.integers(1, 200),
    st.lists(st.integers(0, 70_000) | st.sampled_from([-(10**12), -240_000, -1, 240_000, 10**12]), max_size=30),
)
def test_nobody_waits_in_vain_and_never_longer_than_a_window(per_minute: int, steps: list[int]) -> None:
    """Whatever the clock did before: who waits as long as was told is served, and that is a window at most."""
    bucket, now = Bucket(per_minute), 10**13
    for step in steps:
        now += step
        verdict = bucket.ask(now)
        if verdict.retry_after_ms is not None:
            assert 0 < verdict.retry_after_ms <= 60_000
            now += verdict.retry_after_ms
            assert bucket.ask(now).reason == ""


@given(st.integers(1, 50), st.lists(st.integers(0, 20_000), min_size=1, max_size=300))
def test_while_the_clock_runs_forwards_the_rate_holds(per_minute: int, steps: list[int]) -> None:
    """In any minute at most twice the rate less one, which is what the algorithm promises."""
    bucket, now, served = Bucket(per_minute), 10**13, []
    for step in steps:
        now += step
        if not bucket.ask(now).reason:
            served.append(now)

    assert all(sum(start <= one < start + 60_000 for one in served) <= 2 * per_minute - 1 for start in served)


def test_a_clock_that_steps_back_gives_one_call_and_not_a_burst() -> None:
    """A bucket from the future admits one call; then the rate counts from there."""
    bucket = Bucket(6)
    assert [bucket.ask(300_000).reason for _ in range(7)] == [""] * 6 + ["RATE_LIMITED"]

    assert [bucket.ask(1_000).reason for _ in range(2)] == ["", "RATE_LIMITED"]
    served = [now for now in range(1_000, 121_000, 1_000) if not bucket.ask(now).reason]
    assert all(later - earlier >= 10_000 for earlier, later in pairwise(served))


# ---- on the log


@pytest.mark.parametrize("ahead", [61_000, 240_000])
@pytest.mark.parametrize("own", [False, True])
def test_on_the_log_a_record_from_the_future_stops_nobody_for_longer_than_told(ahead: int, own: bool) -> None:
    """Log time stands still after it, rates do not; and a bucket that is in use does not leave meanwhile."""
    office = Office.opened()
    world = office.world
    world.publish_policy({"policy_id": "agent:bot", "resources": ["tool:**"], "constraints": {"rate_limit": 2}})
    signed = world.signed(invocation(office.resource), office.session) if own else (b"nobody's", [])
    world.fold(*signed, appended_at=world.now + ahead)  # a broker stamped it while its clock was ahead
    assert office.call().says == ("allowed", "")

    for _ in range(5):
        answers = [office.call() for _ in range(2)]
        assert answers[-1].says == ("denied", "RATE_LIMITED")
        assert told(answers[-1]) <= 30_000
        world.advance(told(answers[-1]))
        assert office.call().says == ("allowed", "")


def told(refused: Folded) -> int:
    """Return how long the caller is told to wait."""
    found = re.search(r"retry_after_ms=(\d+)", refused.decisions[0].detail)
    assert found is not None
    return int(found[1])


def test_an_entry_says_when_its_record_was_appended_where_log_time_does_not() -> None:
    """So that a log that was exported is decided again as it was."""
    world = Office.opened().world
    assert world.fold(b"x", []).entry.appended_at is None
    ahead = world.fold(b"x", [], appended_at=world.now + 60_000).entry
    behind = world.fold(b"x", []).entry

    assert (ahead.now, ahead.appended_at) == (world.now + 60_000, None)
    assert (behind.now, behind.appended_at) == (world.now + 60_000, world.now)
