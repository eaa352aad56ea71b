"""Parameter constraints and denied parameters, judged on one call (MAPL.md 3 and 4)."""

from collections.abc import Iterator
from typing import Any

from tests.reference.mapl.jsontext import is_integer, json_equal, json_text, kind_of
from tests.reference.mapl.names import DECODING_PASSES_MAX, grants
from tests.reference.mapl.paths import Reached, reach
from tests.reference.mapl.specs import KIND_OF_KEYWORD, DeniedCheck, ParameterCheck
from tests.reference.mapl.text import (
    NotDecodableError,
    fold,
    fold_literals,
    glob_tokens,
    has_dot_segment,
    percent_decode_any,
    tokens_match,
)
from tests.reference.mapl.work import DENIED_ITEM_UNITS, Work, regex_matches


def parameter_fault(  # noqa: PLR0911
    check: ParameterCheck, params: dict[str, object], work: Work, *, strict: bool
) -> str | None:
    """Section 3: required, type, allowed_values, bounds, pattern, sizes, in this order; each over every value."""
    reached = reach(check.path, params)
    spec, values = check.spec, reached.values
    required = spec.get("required") is True
    if reached.mismatch:
        return "PARAM_TYPE"
    if not values:
        return "PARAM_REQUIRED" if required or strict else None
    if required and None in values:
        return "PARAM_REQUIRED"
    if not all(has_right_type(spec, value) for value in values):
        return "PARAM_TYPE"
    if "allowed_values" in spec and not all(is_allowed(spec["allowed_values"], value) for value in values):
        return "PARAM_NOT_ALLOWED"
    if not all(is_in_bounds(spec, value) for value in values):
        return "PARAM_OUT_OF_RANGE"
    if "pattern" in spec and not all(regex_matches(str(spec["pattern"]), str(value), work) for value in values):
        return "PARAM_PATTERN"
    if not all(has_right_size(spec, value) for value in values):
        return "PARAM_SIZE"
    return None


def has_right_type(spec: dict[str, object], value: object) -> bool:
    """Every keyword that speaks of a type must meet it. Null passes only as a member null of allowed_values."""
    kinds = {KIND_OF_KEYWORD[keyword] for keyword in spec if keyword in KIND_OF_KEYWORD}
    declared = spec.get("type")
    if value is None:
        members = spec.get("allowed_values", [])
        return not kinds and declared is None and None in members  # type: ignore[operator]
    if declared == "integer":
        return is_integer(value) and kinds <= {"number"}
    return kinds | ({str(declared)} if declared is not None else set()) <= {kind_of(value)}


def is_allowed(members: object, value: object) -> bool:
    assert isinstance(members, list)
    return any(is_member(member, value) for member in members)


def is_member(member: object, value: object) -> bool:
    """JSON-equal, or a string member with stars that meets a string; `*` and `**` alone meet all but null."""
    if json_equal(member, value):
        return True
    if member in ("*", "**"):
        return value is not None
    if not isinstance(member, str) or "*" not in member or not isinstance(value, str):
        return False
    return not climbs(value) and grants(member, value)


def climbs(value: str) -> bool:
    """A `.` or `..` segment in the value, percent-decoded up to 3 times. What cannot be decoded to the end climbs."""
    for _ in range(DECODING_PASSES_MAX):
        if has_dot_segment(value):
            return True
        try:
            value = percent_decode_any(value)
        except NotDecodableError:
            return True
    try:
        return has_dot_segment(value) or percent_decode_any(value) != value
    except NotDecodableError:
        return True


def is_in_bounds(spec: dict[str, object], value: object) -> bool:
    bounds: Any = spec.get("range", [spec.get("min"), spec.get("max")])
    least, most = bounds
    if least is None and most is None:
        return True
    number: Any = value  # its type was checked before
    return (least is None or bool(least <= number)) and (most is None or bool(number <= most))


def has_right_size(spec: dict[str, object], value: object) -> bool:
    for low, high in (("min_length", "max_length"), ("min_items", "max_items")):
        if low in spec or high in spec:
            size = len(value)  # type: ignore[arg-type]  # code points of NFC, or items
            if size < spec.get(low, 0) or size > spec.get(high, size):  # type: ignore[operator]
                return False
    return True


def denial_fault(check: DeniedCheck, params: dict[str, object], work: Work) -> str | None:
    """Section 4: a path through a wrong type is PARAM_TYPE, a hit PARAM_DENIED; absent passes."""
    if check.path is None:
        leaves = [leaf for leaf in everything_below(params) if isinstance(leaf, str)]  # strings and member names
        return "PARAM_DENIED" if any(hits(item, leaf, work) for item in check.items for leaf in leaves) else None
    reached: Reached = reach(check.path, params)
    if reached.mismatch:
        return "PARAM_TYPE"
    found = [leaf for value in reached.values for leaf in [value, *everything_below(value)]]
    return "PARAM_DENIED" if any(hits(item, leaf, work) for item in check.items for leaf in found) else None


def everything_below(value: object) -> Iterator[object]:
    """Every value and every member name below a value, itself left out."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield name
            yield member
            yield from everything_below(member)
    elif isinstance(value, list):
        for item in value:
            yield item
            yield from everything_below(item)


def hits(item: object, leaf: object, work: Work) -> bool:
    """Section 4, one denied item against one leaf. Costs 16 and the bytes of the leaf."""
    if isinstance(item, list | dict) or isinstance(leaf, list | dict):
        return json_equal(item, leaf)
    text = leaf if isinstance(leaf, str) else json_text(leaf)
    work.spend(DENIED_ITEM_UNITS + len(text.encode("utf-8", "surrogatepass")))
    if isinstance(item, str):
        if leaf is None:
            return False  # a glob meets strings and the JSON text of numbers and booleans
        tokens = ["**" if token == "*" else token for token in fold_literals(glob_tokens(item, question=True))]
        return tokens_match(tokens, fold(text))
    return json_equal(item, leaf) or (isinstance(leaf, str) and fold(json_text(item)) == fold(leaf))
