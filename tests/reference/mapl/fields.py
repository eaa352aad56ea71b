"""Checks that many fields share: types, texts, patterns, times, criteria (docs/mapl.md 1)."""

import datetime as dt
import re

from tests.reference.mapl.jsontext import is_integer, is_number
from tests.reference.mapl.refusals import RefusedError, below
from tests.reference.mapl.text import has_control, has_control_or_format, has_outer_blanks

PATTERNS_MAX = 512
PATTERN_CODE_POINTS_MAX = 512
STAR_RUNS_MAX = 16
TEXT_CODE_POINTS_MAX = 1024
POLICY_ID_CODE_POINTS_MAX = 256

TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,3}))?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII)
CRITERION = re.compile(r"(role|team|user|group):(.+)", re.DOTALL)
KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/@-]{0,127}")


def object_of(value: object, pointer: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise RefusedError("E_TYPE", pointer)
    return value


def array_of(value: object, pointer: str, items_max: int | None = None) -> list[object]:
    if not isinstance(value, list):
        raise RefusedError("E_TYPE", pointer)
    if items_max is not None and len(value) > items_max:
        raise RefusedError("E_LIMIT", pointer)
    return value


def string_of(value: object, pointer: str) -> str:
    if not isinstance(value, str):
        raise RefusedError("E_TYPE", pointer)
    return value


def text_of(value: object, pointer: str) -> str:
    """`text(..1024)`: no control characters."""
    text = string_of(value, pointer)
    if has_control(text):
        raise RefusedError("E_TEXT", pointer)
    if len(text) > TEXT_CODE_POINTS_MAX:
        raise RefusedError("E_LIMIT", pointer)
    return text


def boolean_of(value: object, pointer: str) -> bool:
    if not isinstance(value, bool):
        raise RefusedError("E_TYPE", pointer)
    return value


def number_of(value: object, pointer: str) -> float:
    if not is_number(value):
        raise RefusedError("E_TYPE", pointer)
    return value  # type: ignore[return-value]


def integer_of(value: object, pointer: str, least: int, most: int, *, code: str) -> int:
    """An integer in JSON's sense (1.0 is one); outside its bounds it is refused with `code`."""
    if not is_integer(value):
        raise RefusedError("E_TYPE", pointer)
    integer = int(value)  # type: ignore[call-overload]
    if not least <= integer <= most:
        raise RefusedError(code, pointer)
    return integer  # type: ignore[no-any-return]


def policy_id_of(value: object, pointer: str) -> str:
    text = string_of(value, pointer)
    if (
        not 1 <= len(text) <= POLICY_ID_CODE_POINTS_MAX
        or "*" in text
        or "\\" in text
        or has_control_or_format(text)
        or has_outer_blanks(text)
    ):
        raise RefusedError("E_POLICY_ID", pointer)
    return text


def pattern_of(value: object, pointer: str) -> str:
    pattern = string_of(value, pointer)
    if pattern == "" or has_outer_blanks(pattern) or has_control(pattern):
        raise RefusedError("E_PATTERN", pointer)
    check_pattern_size(pattern, pointer)
    return pattern


def check_pattern_size(pattern: str, pointer: str) -> None:
    if len(pattern) > PATTERN_CODE_POINTS_MAX:
        raise RefusedError("E_LIMIT", pointer)
    if len(re.findall(r"\*+", pattern)) > STAR_RUNS_MAX:
        raise RefusedError("E_PATTERN", pointer)


def patterns_of(value: object, pointer: str) -> list[str]:
    items = array_of(value, pointer, PATTERNS_MAX)
    return [pattern_of(item, below(pointer, i)) for i, item in enumerate(items)]


def key_of(value: object, pointer: str) -> str:
    text = string_of(value, pointer)
    if not KEY.fullmatch(text):
        raise RefusedError("E_ATT_KEY", pointer)
    return text


def criterion_of(value: object, pointer: str) -> str:
    text = string_of(value, pointer)
    if not CRITERION.fullmatch(text) or has_control(text):
        raise RefusedError("E_ATT_CRITERIA", pointer)
    return text


def time_of(value: object, pointer: str) -> int:
    """RFC 3339 with seconds and `Z` or `±hh:mm`, at most three decimals; in ms since the epoch. No leap seconds."""
    found = TIME.fullmatch(string_of(value, pointer))
    if found is None:
        raise RefusedError("E_TIME", pointer)
    moment, decimals, sign, hours, minutes = found.groups()
    try:
        local = dt.datetime.strptime(moment + "+0000", "%Y-%m-%dT%H:%M:%S%z")
    except ValueError:
        raise RefusedError("E_TIME", pointer) from None
    if local.strftime("%S") != moment[-2:] or int(hours or 0) > 23 or int(minutes or 0) > 59:
        raise RefusedError("E_TIME", pointer)
    offset_ms = (int(hours or 0) * 60 + int(minutes or 0)) * 60_000
    seconds = local - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    milliseconds = seconds.days * 86_400_000 + seconds.seconds * 1000 + int((decimals or "0").ljust(3, "0"))
    return milliseconds + offset_ms if sign == "-" else milliseconds - offset_ms
