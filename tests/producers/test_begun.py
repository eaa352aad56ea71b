"""A call of a session begins once, also where a lying monitor signs a second decision hours later."""

from hashlib import sha256

from producers.agent.begun import KEPT_MS, BegunCalls
from producers.kafka.digests import Digests
from producers.tools.admission import EVENT_AGE_MS_MAX, EVENT_AHEAD_MS_MAX

NOW, A, B, C = 1_800_000_000_000, b"a" * 32, b"b" * 32, b"c" * 32


def test_a_call_begins_once_for_as_long_as_its_event_may_be_admitted() -> None:
    """Its caller's clock was ahead, so it is fresh for longer than after its beginning; and people may approve it."""
    begun, issued = BegunCalls(), NOW + EVENT_AHEAD_MS_MAX
    assert begun.begin(A, issued, now_ms=NOW)
    for later in (0, EVENT_AGE_MS_MAX + 1, EVENT_AGE_MS_MAX + EVENT_AHEAD_MS_MAX, KEPT_MS):
        assert not begun.begin(A, issued, now_ms=NOW + later)
    assert begun.begin(B, NOW + KEPT_MS, now_ms=NOW + KEPT_MS)


def test_what_was_forgotten_for_want_of_room_does_not_begin_again() -> None:
    """Nor does any other call that could be it: an old one, which people approved meanwhile."""
    begun = BegunCalls(most=1)
    assert begun.begin(A, NOW, now_ms=NOW)
    later = NOW + EVENT_AGE_MS_MAX
    assert begun.begin(B, later, now_ms=later)
    assert not begun.begin(A, NOW, now_ms=later + 1)
    assert not begun.begin(C, NOW + EVENT_AHEAD_MS_MAX, now_ms=later + 1)
    assert begun.begin(C, later + 2, now_ms=later + 2)


def test_a_hundred_thousand_calls_are_remembered_in_bounded_room() -> None:
    """The latest half of the bound at least, in at most 50 bytes for each; nothing of what is over it is left."""
    begun = BegunCalls(most=2000)
    for at in range(100_000):
        assert begun.begin(sha256(b"%d" % at).digest(), NOW + at * 1000, now_ms=NOW + at * 1000)
        assert len(begun) <= 2000
    now = NOW + 100_000 * 1000
    for at in range(99_000, 100_000):
        assert not begun.begin(sha256(b"%d" % at).digest(), NOW + at * 1000, now_ms=now)
    assert not begun.begin(sha256(b"0").digest(), NOW, now_ms=now), "it is forgotten, so it may have begun"

    spans = [one for one in (begun._older, begun._newer) if one is not None]
    buckets = [bucket for one in spans for bucket in one.events._buckets if bucket is not None]
    assert sum(map(len, buckets)) == Digests.SIZE * len(begun)


def test_what_began_is_forgotten_once_it_cannot_come_again() -> None:
    begun = BegunCalls()
    for day in range(6):
        now = NOW + day * (KEPT_MS + 1)
        assert begun.begin(sha256(b"%d" % day).digest(), now, now_ms=now)
        assert len(begun) <= 2
