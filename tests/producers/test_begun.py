"""A call of a session begins once, also where a lying monitor signs a second decision hours later."""

from producers.agent.begun import KEPT_MS, BegunCalls
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
