"""Points in time as documents write them, and the calendar of a zone (docs/mapl.md 1 and 10).

Times are milliseconds since the epoch. Zones come from the pinned `tzdata` package and nowhere else: the files of a
machine must not decide a call. Proleptic Gregorian; leap seconds do not exist.
"""

import importlib
import importlib.resources
import io
import operator
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cache, lru_cache
from zoneinfo import ZoneInfo

import re2

from processors.policy import limits
from processors.policy.errors import PolicyError

_DATABASE = "tzdata"
TZDATA_VERSION: str = importlib.import_module(_DATABASE).IANA_VERSION

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME = re2.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,3}))?(?:Z|([+-])([01]\d|2[0-3]):([0-5]\d))")
_OFFSET = re2.compile(r"([+-])(0\d|1[0-4]):([0-5]\d)")
_MILLISECOND = timedelta(milliseconds=1)


def parse_time(text: str, pointer: str) -> int:
    """Return an RFC 3339 time, with seconds and at most three decimals, in milliseconds since the epoch.

    Raises:
        PolicyError: E_TIME.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        raise PolicyError("E_TIME", pointer)
    *numbers, fraction, sign, hours, minutes = found.groups()
    try:
        local = datetime(*map(int, numbers), tzinfo=UTC)  # type: ignore[misc, arg-type]
    except ValueError:
        raise PolicyError("E_TIME", pointer) from None
    offset = (int(hours) * 60 + int(minutes)) * 60_000 if sign else 0
    since = (local - _EPOCH) // _MILLISECOND + int((fraction or "").ljust(3, "0"))
    return since + offset if sign == "-" else since - offset


def iso_time(milliseconds: int) -> str:
    """Return a time in ms since the epoch as RFC 3339 writes it, in UTC."""
    text = (_EPOCH + timedelta(milliseconds=milliseconds)).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def zone_named(name: str, pointer: str) -> tzinfo:
    """Return the zone `UTC`, `±hh:mm` (at most 14:59), or one of the pinned database with a `/` in its name.

    Raises:
        PolicyError: E_EXPR_ZONE; `EST` and its like mean different things to different people.
    """
    if name == "UTC":
        return UTC
    found = _OFFSET.fullmatch(name)
    if found is not None:
        offset = timedelta(hours=int(found[2]), minutes=int(found[3]))
        return timezone(-offset if found[1] == "-" else offset)
    if "/" not in name or name not in _zone_names():
        raise PolicyError("E_EXPR_ZONE", pointer)
    return _load(name)


@cache
def _zone_names() -> frozenset[str]:
    return frozenset(importlib.resources.files(_DATABASE).joinpath("zones").read_text("ascii").split("\n")) - {""}


@cache
def _load(name: str) -> ZoneInfo:
    return ZoneInfo.from_file(io.BytesIO(_file(name)), name)


def _file(name: str) -> bytes:
    return importlib.resources.files(_DATABASE).joinpath("zoneinfo", *name.split("/")).read_bytes()


def zone_files() -> Iterator[tuple[str, bytes]]:
    """Yield the name and the file of every zone that a policy can name, by name."""
    return ((name, _file(name)) for name in sorted(_zone_names()) if "/" in name)


@lru_cache(maxsize=limits.CACHED_ZONE_SECONDS_MAX)
def local_time(seconds: int, zone: tzinfo) -> datetime:
    """Return the local time of a second since the epoch."""
    return datetime.fromtimestamp(seconds, zone)


# What a condition can ask of a time: the member's name, and how it is read off.
FIELDS: dict[str, Callable[[datetime], int | str]] = {
    **{name: operator.attrgetter(name) for name in ("year", "month", "day", "hour", "minute")},
    "weekday": operator.methodcaller("isoweekday"),
    "date": lambda local: f"{local.year:04}-{local.month:02}-{local.day:02}",
    "clock": lambda local: f"{local.hour:02}:{local.minute:02}",
}
NOW = "now"  # beside those: seconds since the epoch, the same in every zone
