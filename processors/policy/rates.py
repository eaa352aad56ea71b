"""Rate limits (docs/mapl.md 9): the generic cell rate algorithm, in whole microseconds.

A bucket is one number, the theoretical arrival time of the next call, or 0. A call at `t` is too early if that time
less the tolerance is after `t`; otherwise it makes it `max(arrival, t) + period`. A denied call costs nothing.

`t` is the append time of the call's own record. Log time never runs backwards, so it stands still after a record that
a broker stamped ahead of its time, and a caller that waits as told would wait in vain. Append time may step back;
then a bucket can hold a time that no call could have left (ADR 0016), and is taken for one that admits a single call.
"""

from typing import NamedTuple

from processors.text.forms import fold

_MINUTE_US = 60_000_000
_BETWEEN = b"\x00"  # no name holds it


class Rate(NamedTuple):
    """`n` calls a minute: one each `period` µs, and `tolerance` µs of calls at once."""

    per_minute: int
    period: int
    tolerance: int


def rate_of(per_minute: int) -> Rate:
    """Return the rate of a document's `rate_limit`."""
    period = -(-_MINUTE_US // per_minute)
    return Rate(per_minute, period, (per_minute - 1) * period)


def bucket_prefix(principal: str) -> bytes:
    """Return the prefix of the keys of a principal's buckets; the policy's id follows.

    All spellings of one name have one bucket.
    """
    return fold(principal).encode() + _BETWEEN


def policy_of(key: bytes) -> str:
    """Return the policy's id in the key of a bucket."""
    return key.partition(_BETWEEN)[2].decode()


def retry_after_ms(excess: int) -> int:
    """Return after how many ms a call that comes `excess` µs too early would be within the rate."""
    return -(-excess // 1000)


def standing(arrival: int, now: int, period: int, tolerance: int) -> int:
    """Return the arrival time that counts at `now`: a caller within the rate never waits longer than one period."""
    # No call up to now can have left more than that, so the clock was ahead when it came, and has been set back.
    return arrival if arrival <= now + tolerance + period else now + tolerance


def idle_at(log_time: int, ahead: int) -> int:
    """Return the log time (ms) from which on a bucket says nothing any more that is `ahead` µs from idle.

    To the next minute: one tick for many buckets.
    """
    return ((log_time * 1000 + ahead) // _MINUTE_US + 1) * (_MINUTE_US // 1000)
