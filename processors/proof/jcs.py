"""JSON with one spelling: the strict reader and the RFC 8785 writer (JCS).

Signatures, hashes and comparisons use `canonical(value)`; text from outside enters through `parse_strict(text)`.
The two agree: the writer writes every value that the reader accepts, and the reader reads the written text as the same
value. Numbers are IEEE doubles, so the reader gives `1.0` and `1e0` as the integer 1. Texts are kept as they are:
RFC 8785 does not normalise, and neither does this file (only member names are *compared* in NFC).

The standard library's C scanner and encoder do the work. Python walks a tree only where a cheap look says that a
limit could be exceeded or that the encoder's spelling is not that of RFC 8785.

This module knows nothing of parameters and policies. Specification: docs/wire.md 4, docs/mapl.md 1.
"""

import json
import math
from collections.abc import Callable
from typing import NoReturn, TypeAlias

import orjson

from processors.proof.literals import is_kept
from processors.text.forms import is_stream_safe, nfc
from schemas import limits
from schemas.errors import InputError

JSONValue: TypeAlias = "dict[str, JSONValue] | list[JSONValue] | str | int | float | bool | None"

DEPTH_MAX = limits.PARAMETERS_DEPTH_MAX  # containers inside each other, the outermost is 1
NODES_MAX = limits.JSON_NODES_MAX  # values of any kind, containers included, member names not
WRITTEN_DEPTH_MAX = 128  # a value of our own may wrap a parsed one; far below the interpreter's stack
INTEGER_MAX = limits.INTEGER_MAX  # up to here a double holds every integer
INTEGER_CHARS_MAX = 17  # "-9007199254740992"; longer literals are never handed to int()
FLOAT_CHARS_MAX = 1100  # the longest exact decimal form of a double has 1077 characters

EXPONENT_FORM_MIN = 1e21  # from here on ECMAScript, so RFC 8785, writes an exponent
_REPR_FORM_MIN = 1e-4  # below, Python writes an exponent where ECMAScript writes zeros
_BOM = b"\xef\xbb\xbf"
_BLANKS = " \t\n\r"  # RFC 8259 section 2; str.strip() alone would also take U+00A0 and others
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class MalformedJSONError(InputError):
    """A text is not strict JSON.

    `cause` is one stable word: utf8, bom, syntax, trailing, duplicate, marks, number, surrogate, depth, nodes.
    """

    def __init__(self, cause: str) -> None:
        super().__init__(f"malformed JSON: {cause}")
        self.cause = cause


class NotJSONError(InputError):
    """A Python value has no JSON form; `cause` is type, number, surrogate or depth."""

    def __init__(self, cause: str) -> None:
        super().__init__(f"value has no JSON form: {cause}")
        self.cause = cause


def canonical(value: object) -> bytes:
    """Return the RFC 8785 bytes of a JSON value; equal JSON values have equal bytes (`1` and `1.0`, `-0.0` and `0`).

    Only `dict` with `str` keys, `list`, `str`, `int`, `float`, `bool` and `None` are JSON, not their subclasses.

    Raises:
        NotJSONError: another type, an `int` beyond ±2^53, a float that is not finite, a lone surrogate, or more than
            `WRITTEN_DEPTH_MAX` containers inside each other.
    """
    text = _encode(value) if _is_plain(value, WRITTEN_DEPTH_MAX) else "".join(_pieces(value))
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise NotJSONError("surrogate") from None


def parse_strict(text: bytes, *, depth_max: int = DEPTH_MAX, nodes_max: int = NODES_MAX) -> JSONValue:
    """Return the one value that a UTF-8 JSON text holds; time and memory are linear in its length.

    Refused in addition to the faults of RFC 8259: a byte order mark, member names that are equal (also after NFC),
    `NaN` and `Infinity`, lone surrogates, too much depth, too many values. Integers beyond ±2^53 are refused in every
    spelling: `1e20` is `100000000000000000000` in RFC 8785, which this reader would not take back. From 1e21 on the
    canonical form has an exponent, and such a number is a double like any other. A literal that a double would round to
    another integer is refused too (`9007199254740993.0`): the number that is executed must be the one agreed to.

    Requires 0 < depth_max <= 128.

    Raises:
        MalformedJSONError: the text is not strict JSON; `cause` says why.
    """
    decoded = _decode(text)
    if text.count(b"{") + text.count(b"[") > depth_max:  # INVARIANT: before the scanner, which recurses
        _check_nesting(text, depth_max, nodes_max)
    value = _scan(decoded)
    if len(text) >= 2 * nodes_max:  # each value but the outermost needs a comma or a bracket besides itself
        _check_nodes(value, nodes_max)
    return value


def parse_canonical(text: bytes, *, nodes_max: int = NODES_MAX) -> tuple[JSONValue, bytes]:
    """Return `parse_strict(text)` and its RFC 8785 bytes, faster than two calls.

    Raises:
        MalformedJSONError: as `parse_strict`.
    """
    plain = _parse_plain(text, nodes_max)
    if plain is not None:
        return plain
    value = parse_strict(text, nodes_max=nodes_max)
    if not text.isascii() or b"\\" in text:
        return value, canonical(value)
    # Names are ASCII here, so Python's order is that of RFC 8785. Both spell an integer alike, and Python spells a
    # double differently only where it uses an exponent.
    written = _encode(value).encode()
    if b"e-" in written or b"e+" in written:
        return value, canonical(value)
    return value, written


# Maps the digits 2 to 9 to 1 and closing brackets to a comma, so that there are fewer forms to look for.
_FORMS = bytes.maketrans(b"23456789}]", b"11111111,,")
# Integers beyond ±(2^53 - 1) are refused.
_IN_ORDER = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER


def _parse_plain(text: bytes, nodes_max: int = NODES_MAX) -> tuple[JSONValue, bytes] | None:
    """Return the result of `parse_canonical` from a faster reader, or None where that reader might differ.

    The faster reader is lax, so its answer counts only if the text is ASCII without escapes and writing the value gives
    the text back byte for byte. Then there were no blanks, no member name came twice (one would be missing), every
    number is spelled as the writer spells it, and no integer is beyond 2^53, which the writer refuses. Two spellings
    pass that test but not RFC 8785, and are looked for first: an integral double, and an exponent.
    """
    if len(text) >= 2 * nodes_max or not text.isascii() or b"\\" in text:
        return None
    if text.count(b"{") + text.count(b"[") > DEPTH_MAX:
        return None
    if _may_hold_odd_number(text) and _may_hold_odd_number(b"".join(text.split(b'"')[::2])):  # not within strings
        return None
    try:
        value = orjson.loads(text)
        if not isinstance(value, dict):
            return None
        written = orjson.dumps(value, option=_IN_ORDER)
        # Most senders write names in order; otherwise the value is written once more, in the order of the text.
        return (value, written) if written == text or orjson.dumps(value) == text else None
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return None


def _may_hold_odd_number(text: bytes) -> bool:
    forms = text.translate(_FORMS)
    return b".0," in forms or b"1e" in forms or b"0e" in forms


def number(value: float) -> str:
    """Write a double as ECMAScript does (RFC 8785 section 3.2.2.3). Requires a finite value."""
    if value == 0:
        return "0"  # the sign of zero is dropped
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(digits) - len(fraction) + int(exponent or 0)  # the value is 0.digits times 10^point
    return sign + _place_point(digits.rstrip("0"), point)


def _place_point(digits: str, point: int) -> str:
    """Follow ECMA-262 Number::toString, its k being `len(digits)` and its n `point`."""
    count = len(digits)
    if count <= point <= 21:
        return digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"0.{'0' * -point}{digits}"
    fraction = f".{digits[1:]}" if count > 1 else ""
    return f"{digits[0]}{fraction}e{point - 1:+d}"


# ---- writing

_encode = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, sort_keys=True, separators=(",", ":")
).encode


def _is_plain(value: object, depth_left: int) -> bool:
    """Return True if the C encoder spells the value as RFC 8785 does. Raises NotJSONError if it has no JSON form."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is dict:
        return _is_plain_object(value, depth_left)  # type: ignore[arg-type]
    if kind is list:
        if depth_left == 0:
            raise NotJSONError("depth")
        return _is_plain_array(value, depth_left - 1)  # type: ignore[arg-type]
    return _is_plain_number(value)


def _is_plain_array(value: list[object], depth_left: int) -> bool:
    plain = True
    for item in value:  # no early return: an item behind one that is not plain may have no JSON form
        if not _is_plain(item, depth_left):
            plain = False
    return plain


def _is_plain_object(value: dict[object, object], depth_left: int) -> bool:
    if depth_left == 0:
        raise NotJSONError("depth")
    plain = True
    for name, member in value.items():
        if type(name) is not str:
            raise NotJSONError("type")
        # Code point order is UTF-16 order while no name reaches the surrogates' range.
        if not name.isascii() and max(name) >= "\ud800":
            plain = False
        if type(member) is not str and not _is_plain(member, depth_left - 1):
            plain = False
    return plain


def _is_plain_number(value: object) -> bool:
    if type(value) is int:
        if not -INTEGER_MAX <= value <= INTEGER_MAX:
            raise NotJSONError("number")
        return True
    if type(value) is not float:
        raise NotJSONError("type")
    if not math.isfinite(value):
        raise NotJSONError("number")
    return abs(value) >= _REPR_FORM_MIN and not value.is_integer()


def _pieces(value: object) -> list[str]:
    """Return the RFC 8785 text, in pieces, of a value that passed `_is_plain` without an error."""
    if isinstance(value, float):
        return [number(value)]
    if isinstance(value, list):
        inner = [piece for item in value for piece in (",", *_pieces(item))]
        return ["[", *inner[1:], "]"]
    if isinstance(value, dict):
        names = sorted(value, key=_utf16)
        inner = [piece for name in names for piece in (",", _encode(name), ":", *_pieces(value[name]))]
        return ["{", *inner[1:], "}"]
    return [_encode(value)]


def _utf16(name: str) -> bytes:
    """Return the sort key of RFC 8785 section 3.2.3. A lone surrogate passes here and is refused when encoded."""
    return name.encode("utf-16-be", "surrogatepass")


# ---- reading


def _decode(text: bytes) -> str:
    if text.startswith(_BOM):
        raise MalformedJSONError("bom")
    try:
        return text.decode().strip(_BLANKS)
    except UnicodeDecodeError:
        raise MalformedJSONError("utf8") from None


def _scan(text: str) -> JSONValue:
    # Names can become equal by NFC only beyond ASCII; only an escape can spell half a surrogate pair.
    escaped = "\\" in text
    value = _scan_with(_scan_unicode if escaped or not text.isascii() else _scan_ascii, text)
    if escaped and ("\\ud" in text or "\\uD" in text):
        _check_surrogates(value)
    return value


def _scan_with(scan: Callable[[str], tuple[JSONValue, int]], text: str) -> JSONValue:
    try:
        value, end = scan(text)
    except json.JSONDecodeError:
        raise MalformedJSONError("syntax") from None
    if end != len(text):
        raise MalformedJSONError("trailing")
    return value


def _members(pairs: list[tuple[str, JSONValue]]) -> dict[str, JSONValue]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise MalformedJSONError("duplicate")
    return value


def _members_nfc(pairs: list[tuple[str, JSONValue]]) -> dict[str, JSONValue]:
    if not all(is_stream_safe(name) for name, _ in pairs):
        raise MalformedJSONError("marks")
    if len({nfc(name) for name, _ in pairs}) != len(pairs):
        raise MalformedJSONError("duplicate")
    return dict(pairs)


def _integer(literal: str) -> int:
    if len(literal) > INTEGER_CHARS_MAX:  # JSON allows no leading zeros, so a long literal is a large number
        raise MalformedJSONError("number")
    value = int(literal)
    if not -INTEGER_MAX <= value <= INTEGER_MAX:
        raise MalformedJSONError("number")
    return value


def _double(literal: str) -> float:
    if len(literal) > FLOAT_CHARS_MAX:
        raise MalformedJSONError("number")
    value = float(literal)
    if not value.is_integer():  # true of infinity too, the value of an overflow
        if math.isinf(value):
            raise MalformedJSONError("number")
        return value
    if not is_kept(literal, value):
        raise MalformedJSONError("number")
    if abs(value) <= INTEGER_MAX:
        return int(value)
    if abs(value) < EXPONENT_FORM_MIN:
        raise MalformedJSONError("number")
    return value


def _constant(_literal: str) -> NoReturn:
    raise MalformedJSONError("syntax")  # docs/mapl.md 1: a bare NaN is E_JSON, for it is not a JSON number


def _scanner(
    members: Callable[[list[tuple[str, JSONValue]]], dict[str, JSONValue]],
) -> Callable[[str], tuple[JSONValue, int]]:
    return json.JSONDecoder(
        object_pairs_hook=members, parse_int=_integer, parse_float=_double, parse_constant=_constant
    ).raw_decode


_scan_ascii = _scanner(_members)
_scan_unicode = _scanner(_members_nfc)


def _check_nesting(text: bytes, depth_max: int, nodes_max: int) -> None:
    """Raise MalformedJSONError if the scanner would recurse too deep.

    Up to the first syntax error both see the same brackets.
    """
    # Pairs of backslashes go first; any backslash left over belongs to the character behind it.
    unescaped = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = b"".join(unescaped.split(b'"')[::2]).translate(None, delete=_NOT_BRACKETS)
    if brackets.count(b"[") + brackets.count(b"{") > nodes_max:
        raise MalformedJSONError("nodes")
    depth = 0
    for bracket in brackets:
        depth += 1 if bracket in b"[{" else -1
        if depth > depth_max:
            raise MalformedJSONError("depth")
        if depth < 0:
            return  # the scanner stops here, with a syntax error


def _check_nodes(value: JSONValue, nodes_max: int) -> None:
    waiting: list[JSONValue] = [value]
    done = 0
    while waiting:
        node = waiting.pop()
        done += 1
        if isinstance(node, dict):
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
        if done + len(waiting) > nodes_max:
            raise MalformedJSONError("nodes")


def _check_surrogates(value: JSONValue) -> None:
    """Raise MalformedJSONError if an escape spells half a surrogate pair; UTF-8 itself cannot hold one."""
    try:
        _encode(value).encode()
    except UnicodeEncodeError:
        raise MalformedJSONError("surrogate") from None
