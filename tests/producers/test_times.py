"""Times that callers give, before anything is sent."""

import math

import pytest

from producers.client.inputs import MalformedTimeError, milliseconds
from producers.client.open_call import waited


@pytest.mark.parametrize(("seconds", "ms"), [(0.001, 1), (0.0019, 1), (1, 1000), (59.9999, 59_999), (60, 60_000)])
def test_a_time_is_whole_milliseconds(seconds: float, ms: int) -> None:
    """From one to the bound; what is left over counts nothing."""
    assert milliseconds(seconds, at_most=60_000, what="a life") == ms


@pytest.mark.parametrize("seconds", [0, -1, 0.000_999, 60.001, 1e308, math.inf, -math.inf, math.nan, 10**400])
def test_a_time_outside_its_bounds_is_refused(seconds: float) -> None:
    """The message says what would do."""
    with pytest.raises(MalformedTimeError, match=r"a life must be 0\.001 to 60 seconds"):
        milliseconds(seconds, at_most=60_000, what="a life")


@pytest.mark.parametrize("seconds", [86_401, 1e300, math.inf, 10**400])
def test_nobody_waits_longer_than_a_session_lives(seconds: float) -> None:
    """Whoever says for ever means that; what the machine cannot wait for must not end a call that was sent."""
    assert waited(seconds) == 86_400


def test_what_is_no_time_is_refused_before_anything_is_sent() -> None:
    """It would else be told when the call has run."""
    with pytest.raises(MalformedTimeError, match="number of seconds"):
        waited(math.nan)
