"""Options of risk classifiers: read so that a wrong one never makes a value milder."""

from collections.abc import Mapping

from processors.proof.jcs import JSONValue

TEXTS_MAX = 64  # values in a list that a classifier reads


def texts(options: Mapping[str, JSONValue], name: str) -> tuple[str, ...]:
    """Return the texts of a list in the options; none if it is absent or holds another type."""
    value = options.get(name)
    if not isinstance(value, list):
        return ()
    found = tuple(one for one in value if isinstance(one, str))
    return found if len(found) == len(value) else ()


def number(options: Mapping[str, JSONValue], name: str, otherwise: int) -> int:
    """Return a whole number of at least 0 in the options, or another if it is absent or of another type."""
    value = options.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else otherwise


def as_texts(value: JSONValue) -> tuple[str, ...] | None:
    """Return the texts of a value, which is one or a list of 1 to TEXTS_MAX; None for every other value."""
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or not 0 < len(value) <= TEXTS_MAX:
        return None
    found = tuple(one for one in value if isinstance(one, str))
    return found if len(found) == len(value) else None
