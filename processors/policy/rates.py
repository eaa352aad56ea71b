"""Rate limits on log time (MAPL.md 9): the generic cell rate algorithm, in whole microseconds.

A bucket is one number, the theoretical arrival time of the next call, or 0. A call at `t` is too early if that time
less the tolerance is after `t`; else it makes it `max(arrival, t) + period`. What is denied costs nothing.
"""

from typing import NamedTuple

from processors.policy.text import fold

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
    """Return what the keys of a principal's buckets begin with; the policy's id follows.

    All spellings of one name have one bucket.
    """
    return fold(principal).encode() + _BETWEEN


def policy_of(key: bytes) -> str:
    """Return whose bucket a key names."""
    return key.partition(_BETWEEN)[2].decode()


def retry_after_ms(excess: int) -> int:
    """Return after how many ms a call that comes `excess` µs too early would be within the rate."""
    return -(-excess // 1000)


def idle_at(arrival: int) -> int:
    """Return from when on (ms) a bucket says nothing any more. To the next minute: one tick for many buckets."""
    return (arrival // _MINUTE_US + 1) * (_MINUTE_US // 1000)
