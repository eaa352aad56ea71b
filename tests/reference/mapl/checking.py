"""Parameter constraints and denied parameters, judged on one call (docs/mapl.md 3 and 4)."""

import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from tests.reference.mapl.jsontext import is_integer, json_equal, json_text, kind_of
from tests.reference.mapl.names import DECODING_PASSES_MAX, LOOKALIKES, grants, is_one_path
from tests.reference.mapl.paths import Path, Reached, reach
from tests.reference.mapl.specs import KIND_OF_KEYWORD, DeniedCheck, ParameterCheck
from tests.reference.mapl.text import (
    fold,
    fold_literals,
    glob_tokens,
    tokens_match,
)
from tests.reference.mapl.work import DENIED_ITEM_UNITS, Work, regex_matches

SLASHES = {"/", "\\"} | LOOKALIKES  # ADR 0016


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
    # ADR 0016: stars stop at `\\` too, so the same must hold where every `\\` is a `/`.
    slashed = grants(member.replace("\\", "/"), value.replace("\\", "/"))
    return is_one_path(value) and grants(member, value) and slashed


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


def has_only(paths: list[Path], params: dict[str, object]) -> bool:
    """ADR 0016: every scalar and every empty container stands at or below a listed path, or an empty one above it."""
    return all(any(leads(path.steps, trail, empty=empty) for path in paths) for trail, empty in trails(params, []))


def trails(value: object, trail: list[str | int]) -> Iterator[tuple[list[str | int], bool]]:
    """The names and indexes that lead to each scalar, and to each container that holds nothing."""
    if isinstance(value, dict | list) and value:
        for step, member in value.items() if isinstance(value, dict) else enumerate(value):
            yield from trails(member, [*trail, step])
    elif trail:
        yield trail, value in ({}, [])


def leads(steps: list[tuple[str, str | int]], trail: list[str | int], *, empty: bool) -> bool:
    shorter = min(len(steps), len(trail))
    if len(trail) < len(steps) and not empty:
        return False
    return all(
        isinstance(at, int) if kind == "every" else at == step and (kind == "index") == isinstance(at, int)
        for (kind, step), at in zip(steps[:shorter], trail[:shorter], strict=True)
    )


def denial_fault(check: DeniedCheck, params: dict[str, object], work: Work) -> str | None:
    """Section 4: a path through a wrong type is PARAM_TYPE, a hit PARAM_DENIED; absent passes."""
    if check.path is None:  # ADR 0016: everything, as below any other path
        found = [params, *everything_below(params)]
        return "PARAM_DENIED" if any(hits(item, leaf, work) for item in check.items for leaf in found) else None
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
        return glob_meets(item, fold(text)) or path_meets(item, fold(text))
    return json_equal(item, leaf) or (isinstance(leaf, str) and fold(json_text(item)) == fold(leaf))


def glob_meets(item: str, text: str) -> bool:
    tokens = ["**" if token == "*" else token for token in fold_literals(glob_tokens(item, question=True))]
    return tokens_match(tokens, text)


def path_meets(item: str, text: str) -> bool:
    """ADR 0016: an item with a slash of either kind also tries what the text, decoded, says as a path."""
    if not any(c in SLASHES for c in fold(item)):
        return False
    patterns = {as_path(item), re.sub("/+", "/", as_path(item))}
    for _ in range(DECODING_PASSES_MAX + 1):
        if any(glob_meets(pattern, form) for pattern in patterns for form in path_forms(text)):
            return True
        decoded = fold(
            re.sub(rb"%([0-9A-Fa-f]{2})", _byte, unicodedata.normalize("NFD", text).encode()).decode("utf-8", "replace")
        )
        if decoded == text:
            return False
        text = decoded
    return True  # what still changes could be anything


def _byte(found: re.Match[bytes]) -> bytes:
    return bytes([int(found[1], 16)])


def as_path(text: str) -> str:
    return "".join("/" if c in SLASHES else c for c in text)


def path_forms(text: str) -> set[str]:
    """One kind of slash, no controls, cut at NUL too; without empty and dot segments, `..` followed and not."""
    forms = {text}
    for whole in (text, text.split("\0", maxsplit=1)[0]):
        path = "".join(c for c in as_path(whole) if unicodedata.category(c) != "Cc")
        forms.add(path)
        kept = [part for part in path.split("/") if part not in {"", "."}]
        walked: list[str] = []
        for part in kept:
            if part != ".." or (not path.startswith("/") and (not walked or walked[-1] == "..")):
                walked.append(part)
            elif walked:
                walked.pop()
        for parts in (kept, walked):
            plain = ("/" if path.startswith("/") else "") + "/".join(parts)
            forms.add(plain)
            if path.split("/")[-1] in {"", ".", ".."} and "/" in path:
                forms.add(plain + "/")
    return forms
