"""The common parts of all parsers of documents: the text, exact types, and pointers to places.

Types are exact and `null` never means "absent" (docs/mapl.md 1).
"""

from collections.abc import Collection

from processors.policy import limits
from processors.policy.errors import PolicyError
from processors.proof import jcs
from processors.proof.jcs import JSONValue
from processors.text.characters import has_control
from processors.text.forms import is_stream_safe, nfc

_JSON_CODES = {"duplicate": "E_JSON_DUPLICATE", "number": "E_JSON_NUMBER", "surrogate": "E_TEXT", "marks": "E_TEXT"}
_LIMIT_CAUSES = frozenset({"depth", "nodes"})


def pointer_to(base: str, step: str | int) -> str:
    """Return the JSON pointer (RFC 6901) to a member or item of the place that `base` points to."""
    return f"{base}/{str(step).replace('~', '~0').replace('/', '~1')}"


def document_order(name: str) -> bytes:
    """Return the sort key of member names in document order, which is that of RFC 8785: by UTF-16 code units."""
    return name.encode("utf-16-be")


def read_object(text: bytes) -> dict[str, JSONValue]:
    """Return the one JSON object in a document's text, all of it in NFC.

    Raises:
        PolicyError: the text is too large, or not strict JSON, or not an object.
    """
    if len(text) > limits.DOCUMENT_BYTES_MAX:
        raise PolicyError("E_LIMIT", "")
    try:
        # A document of 64 KiB holds fewer values than bytes, so the count needs no bound of its own.
        value = jcs.parse_strict(text, depth_max=limits.DOCUMENT_DEPTH_MAX, nodes_max=limits.DOCUMENT_BYTES_MAX)
    except jcs.MalformedJSONError as error:
        code = "E_LIMIT" if error.cause in _LIMIT_CAUSES else _JSON_CODES.get(error.cause, "E_JSON")
        raise PolicyError(code, "") from None
    if not text.isascii() or b"\\u" in text:
        if not is_stream_safe(jcs.canonical(value).decode()):  # normalising it would take quadratic time
            raise PolicyError("E_TEXT", "")
        value = nfc_value(value)
    return as_object(value, "")


def nfc_value(value: JSONValue) -> JSONValue:
    """Return a JSON value with every text and member name in NFC. Requires names that stay distinct."""
    if isinstance(value, str):
        return nfc(value)
    if isinstance(value, list):
        return [nfc_value(item) for item in value]
    if isinstance(value, dict):
        return {nfc(name): nfc_value(member) for name, member in value.items()}
    return value


def as_object(value: JSONValue, pointer: str) -> dict[str, JSONValue]:
    """Return the value if it is an object, else raise PolicyError E_TYPE."""
    if not isinstance(value, dict):
        raise PolicyError("E_TYPE", pointer, "an object")
    return value


def as_list(value: JSONValue, pointer: str, *, items_max: int) -> list[JSONValue]:
    """Return the value if it is an array, else raise PolicyError E_TYPE, or E_LIMIT for a long one."""
    if not isinstance(value, list):
        raise PolicyError("E_TYPE", pointer, "an array")
    if len(value) > items_max:
        raise PolicyError("E_LIMIT", pointer)
    return value


def as_text(value: JSONValue, pointer: str, *, chars_max: int | None = None) -> str:
    """Return the value if it is a string, else raise PolicyError E_TYPE, or E_LIMIT for a long one."""
    if not isinstance(value, str):
        raise PolicyError("E_TYPE", pointer, "a text")
    if chars_max is not None and len(value) > chars_max:
        raise PolicyError("E_LIMIT", pointer)
    return value


def as_label(value: JSONValue, pointer: str, *, chars_max: int = limits.ADVISORY_CHARS_MAX) -> str:
    """Return the value if it is a string that people can read, else raise PolicyError E_TYPE, E_LIMIT or E_TEXT."""
    text = as_text(value, pointer, chars_max=chars_max)
    if has_control(text):
        raise PolicyError("E_TEXT", pointer)
    return text


def as_flag(value: JSONValue, pointer: str) -> bool:
    """Return the value if it is a boolean, else raise PolicyError E_TYPE."""
    if not isinstance(value, bool):
        raise PolicyError("E_TYPE", pointer, "true or false")
    return value


def as_number(value: JSONValue, pointer: str) -> float:
    """Return the value if it is a number, else raise PolicyError E_TYPE."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise PolicyError("E_TYPE", pointer, "a number")
    return value


def as_integer(value: JSONValue, pointer: str, *, low: int, high: int, code: str = "E_LIMIT") -> int:
    """Return the value if it is an integer from low to high, else raise PolicyError E_TYPE, or `code` beyond them."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise PolicyError("E_TYPE", pointer, "a whole number")
    if not low <= value <= high:
        raise PolicyError(code, pointer)
    return value


def as_choice(value: JSONValue, pointer: str, choices: Collection[str]) -> str:
    """Return the value if it is one of some words, else raise PolicyError E_TYPE."""
    text = as_text(value, pointer)
    if text not in choices:
        raise PolicyError("E_TYPE", pointer, f"one of {', '.join(sorted(choices))}")
    return text
