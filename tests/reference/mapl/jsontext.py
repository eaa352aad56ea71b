"""JSON texts of policies and calls, and equality of JSON values (docs/mapl.md 1 and 3).

The strict reader and the canonical bytes are the project's own (`processors.proof.jcs`), which has a twin of its own.
"""

import hashlib

from processors.proof import jcs
from tests.reference.mapl.refusals import RefusedError
from tests.reference.mapl.text import nfc_tree

DOCUMENT_BYTES_MAX = 64 * 1024
DOCUMENT_DEPTH_MAX = 16
DOCUMENT_NODES_MAX = DOCUMENT_BYTES_MAX  # section 1 bounds a document's bytes and depth, not its values
INTEGER_MAX = 2**53

CODES = {
    "utf8": "E_JSON",
    "bom": "E_JSON",
    "syntax": "E_JSON",
    "trailing": "E_JSON",
    "duplicate": "E_JSON_DUPLICATE",
    "number": "E_JSON_NUMBER",
    "surrogate": "E_TEXT",
    "marks": "E_LIMIT",
    "depth": "E_LIMIT",
    "nodes": "E_LIMIT",
}


class MalformedParametersError(Exception):
    """MALFORMED_PARAMETERS."""


def read_document(text: str) -> object:
    """Section 1: one strict JSON text, NFC. Raises RefusedError."""
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) > DOCUMENT_BYTES_MAX:
        raise RefusedError("E_LIMIT")
    try:
        value = jcs.parse_strict(raw, depth_max=DOCUMENT_DEPTH_MAX, nodes_max=DOCUMENT_NODES_MAX)
    except jcs.MalformedJSONError as error:
        raise RefusedError(CODES[error.cause]) from None
    return nfc_tree(value)


def read_parameters(text: str) -> dict[str, object]:
    """Sections 1 and 12: the same reader, depth 32, 4096 values, an object at the top. Comparisons are in NFC."""
    try:
        value = jcs.parse_strict(text.encode("utf-8", "surrogatepass"))
    except jcs.MalformedJSONError:
        raise MalformedParametersError from None
    normal = nfc_tree(value)
    if not isinstance(normal, dict):
        raise MalformedParametersError
    return normal


def digest(value: object) -> str:
    """Section 1: SHA-256 of the JCS form after NFC."""
    return hashlib.sha256(jcs.canonical(value)).hexdigest()


def is_number(value: object) -> bool:
    """Section 3: a boolean is never a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_integer(value: object) -> bool:
    """Section 3: a number without fraction; 5.0 is one."""
    return is_number(value) and float(value).is_integer()  # type: ignore[arg-type]


def kind_of(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    names: dict[type, str] = {str: "string", list: "array", dict: "object"}
    return names[type(value)]


def json_equal(left: object, right: object) -> bool:
    """Same type, same value: true is not 1, "5" is not 5, 5.0 is 5. Both sides are in NFC already."""
    if kind_of(left) != kind_of(right):
        return False
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(json_equal(a, b) for a, b in zip(left, right, strict=True))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(json_equal(left[name], right[name]) for name in left)
    return left == right


def json_text(value: object) -> str:
    """The JSON text of a number, boolean or null, as JCS writes it."""
    return jcs.canonical(value).decode()
