"""Arguments that the stores accept: one function per kind of argument, each raising ValueError with a sentence.

Arguments arrive as parsed JSON from any client with a session, so every type is checked.
"""

import re
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

LINE_CHARS_MAX = 200
BODY_CHARS_MAX = 100_000
FILE_NAME_BYTES_MAX = 200  # file systems stop at 255, and the trash puts an id before the name
AMOUNT_CENTS_MAX = 10**12  # exact in a double with room to spare, and sums of it fit SQLite's integers
ADDRESSES_MAX = 100

_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_DAY = "%Y-%m-%d"
_MOMENT = "%Y-%m-%d %H:%M"


def shown(value: object) -> str:
    """Return `value` in quotes and shortened, for an error message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def require_line(value: object, name: str) -> str:
    """Return a single line of text that is not blank."""
    if not isinstance(value, str):
        raise _wrong(name, "text", value)
    if not value.strip() or len(value) > LINE_CHARS_MAX or not value.isprintable():
        raise _wrong(name, f"one line of 1 to {LINE_CHARS_MAX} characters", value)
    return value


def require_body(value: object, name: str) -> str:
    """Return text of any number of lines, possibly empty."""
    if not isinstance(value, str):
        raise _wrong(name, "text", value)
    if len(value) > BODY_CHARS_MAX:
        raise ValueError(f"{name} must have at most {BODY_CHARS_MAX} characters, got {len(value)}")
    if not all(char.isprintable() or char in "\n\t" for char in value):
        raise _wrong(name, "text without control characters", value)
    return value


def require_query(value: object, name: str) -> str:
    """Return the text to search for, folded for comparison; empty means everything."""
    return require_body(value, name).casefold().strip()


def require_cents(value: object, name: str) -> int:
    """Return a positive amount of money as whole cents, without rounding."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(name, "a number", value)
    try:
        cents = Decimal(str(value)) * 100
    except InvalidOperation as exc:
        raise _wrong(name, "a number", value) from exc
    if not cents.is_finite() or cents != cents.to_integral_value():
        raise _wrong(name, "finite and have at most two decimals", value)
    if not 0 < cents <= AMOUNT_CENTS_MAX:
        raise _wrong(name, f"above 0 and at most {AMOUNT_CENTS_MAX // 100}", value)
    return int(cents)


def require_count(value: object, name: str, *, most: int) -> int:
    """Return an integer from 1 to `most`. 7.0 is an integer, as everywhere in JSON."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise _wrong(name, f"an integer from 1 to {most}", value)
    return value


def require_flag(value: object, name: str) -> bool:
    """Return a boolean; other values that are true or false in Python are refused."""
    if not isinstance(value, bool):
        raise _wrong(name, "true or false", value)
    return value


def require_day(value: object, name: str) -> str:
    """Return a calendar day, 'YYYY-MM-DD'."""
    return _moment(value, name, _DAY, "YYYY-MM-DD").strftime(_DAY)


def require_moment(value: object, name: str) -> datetime:
    """Return a wall-clock time, 'YYYY-MM-DD HH:MM'."""
    return _moment(value, name, _MOMENT, "YYYY-MM-DD HH:MM")


def moment_text(moment: datetime) -> str:
    """Return the text that `require_moment` reads."""
    return moment.strftime(_MOMENT)


def _moment(value: object, name: str, form: str, wanted: str) -> datetime:
    try:
        moment = datetime.strptime(require_line(value, name), form)  # noqa: DTZ007 - a wall clock has no zone
    except ValueError as exc:
        raise _wrong(name, f"{wanted}", value) from exc
    # strptime also takes "2024-5-1"; a day must have one spelling here, because the index compares texts.
    if moment.strftime(form) != value:
        raise _wrong(name, f"{wanted}", value)
    return moment


def require_address(value: object, name: str) -> str:
    """Return one mail address."""
    if not isinstance(value, str) or len(value) > LINE_CHARS_MAX or not _ADDRESS.fullmatch(value):
        raise _wrong(name, "a mail address", value)
    return value


def require_addresses(value: object, name: str) -> list[str]:
    """Return a list of at least one mail address, each once."""
    if not isinstance(value, list) or not 1 <= len(value) <= ADDRESSES_MAX:
        raise _wrong(name, f"a list of 1 to {ADDRESSES_MAX} mail addresses", value)
    return list(dict.fromkeys(require_address(item, name) for item in value))


def require_id(value: object, name: str) -> int:
    """Return the number behind an id such as "26", which travels as text."""
    if not isinstance(value, str) or not re.fullmatch(r"0|[1-9][0-9]{0,17}", value):
        raise _wrong(name, "an id such as '26'", value)
    return int(value)


def require_file_name(value: object, name: str) -> str:
    """Return a bare file name: without a folder, not hidden, and not `..`."""
    text = require_line(value, name)
    too_long = len(text.encode()) > FILE_NAME_BYTES_MAX
    if too_long or any(char in text for char in "/\\:") or text.startswith(".") or text != text.strip():
        raise _wrong(name, "a bare file name", value)
    return text


def resolve_inside(root: Path, value: object, name: str) -> Path:
    """Return the existing file under `root` that `value` names, with links followed.

    Raises:
        ValueError: The path leaves `root`, by its text or through a link, or the file does not exist.

    """
    text = require_line(value, name)
    base = root.resolve()
    path = (base / text).resolve()
    if Path(text).is_absolute() or ".." in Path(text).parts or not path.is_relative_to(base):
        raise _wrong(name, "a path inside the file store", value)
    if not path.is_file():
        raise _wrong(name, "a file of the store", value)
    return path


def _wrong(name: str, wanted: str, value: object) -> ValueError:
    return ValueError(f"{name} must be {wanted}, got {shown(value)}")
