"""Values that were heard, judged slowly from the texts themselves (docs/mapl.md 14, `not_from`).

Texts are looked through as lists of words; nothing is digested. Only what the page says of texts in ASCII without
encodings is here.
"""

import re

from tests.reference.mapl.jsontext import is_number, json_equal, json_text
from tests.reference.mapl.names import restricts
from tests.reference.mapl.paths import Path
from tests.reference.mapl.sequences import Rule
from tests.reference.mapl.world import Call, Heard, World

WORDS = 6
SHORT = 3
PART = 4


Constants = list[tuple[Path, list[object]]]  # the values that the rule's own document lists for this resource


def is_heard(rule: Rule, constants: Constants, world: World, call: Call, params: object) -> bool:
    """Whether some value of the rule's arguments came from its source, was not said, and is not a constant."""
    sessions = {call.session, *call.chain_sessions}
    texts = [
        one
        for one in world.heard
        if one.session in sessions and restricts(rule.not_from, one.resource) and rule.cleared_by not in one.passed
    ]
    named = bool(rule.arguments)
    return bool(texts) and any(
        came(value, texts, world.said, named=named) and not is_constant(value, steps, constants)
        for steps, value in leaves(params, (), named=named)
        if not rule.arguments or any(begins(path, steps) for path in rule.arguments)
    )


def is_constant(value: object, steps: tuple[object, ...], constants: Constants) -> bool:
    """Whether the rule's own document lists a value for its place; of a text in parts, each part."""
    if isinstance(value, list):
        return all(is_constant(one, (*steps, at), constants) for at, one in enumerate(value))
    return any(
        len(path.steps) == len(steps) and leads(path, steps) and any(json_equal(value, one) for one in items)
        for path, items in constants
    )


def leaves(value: object, steps: tuple[object, ...], *, named: bool) -> list[tuple[tuple[object, ...], object]]:
    if isinstance(value, dict):
        names = [
            (steps, name)
            for name, inner in value.items()
            if steps and (named or not re.fullmatch(r"[A-Za-z_]+", name) or is_nothing(inner))
        ]
        return names + [leaf for name, inner in value.items() for leaf in leaves(inner, (*steps, name), named=named)]
    if isinstance(value, list):
        whole = [(steps, value)] if in_parts(value) else []
        return whole + [leaf for at, inner in enumerate(value) for leaf in leaves(inner, (*steps, at), named=named)]
    return [(steps, value)] if isinstance(value, str) or is_number(value) else []


def is_nothing(value: object) -> bool:
    return value is None or isinstance(value, bool) or value in ({}, [])


def in_parts(values: list[object]) -> bool:
    """Whether a list may be one text in parts: several texts, of which one has at most four characters."""
    texts = [one for one in values if isinstance(one, str) and one]
    return all(isinstance(one, str) for one in values) and len(texts) > 1 and min(map(len, texts)) <= PART


def begins(path: Path, steps: tuple[object, ...]) -> bool:
    """Whether a path leads to a value or to something around it."""
    return (len(steps) > 0 and steps[0] == path.text) or leads(path, steps)


def leads(path: Path, steps: tuple[object, ...]) -> bool:
    return len(path.steps) <= len(steps) and all(
        (kind == "every" and isinstance(one, int)) or (step == one and type(step) is type(one))
        for (kind, step), one in zip(path.steps, steps, strict=False)
    )


def came(value: object, texts: list[Heard], said: list[str], *, named: bool) -> bool:
    if isinstance(value, list):
        parts_said = all(
            any(stands_in(run, words(spoken)) for spoken in said) for one in value for run in whole(words(one))
        )
        unseen = any(one.text is None for one in texts)
        return not unseen and not parts_said and came(" ".join(filter(None, value)), texts, said, named=False)
    text = value if isinstance(value, str) else json_text(value)
    if any(one.text is None for one in texts):
        runs = whole(words(text))
        return bool(text) and not (runs and all(any(stands_in(run, words(one)) for one in said) for run in runs))
    return any(
        (named or len(run) >= SHORT)
        and any(stands_in(run, words(one.text or "")) for one in texts)
        and not any(stands_in(run, words(one)) for one in said)
        for run in parts(text)
    )


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def whole(found: list[str]) -> list[str]:
    count = max(1, len(found) - WORDS + 1)
    return ["".join(found[at : at + WORDS]) for at in range(count)] if found else []


def parts(text: str) -> list[str]:
    """The value itself, and what stands between blanks in it and looks like an address or a code."""
    found = words(text)
    runs = whole(found) + (["".join(found)] if len("".join(found)) <= 64 and found else [])
    for chunk in text.split():
        inner = words(chunk)
        if len(found) > 1 and 0 < len(inner) < len(found) and is_name(inner):
            runs.append("".join(inner))
    return runs


def is_name(inner: list[str]) -> bool:
    if len(inner) == 1:
        return len(inner[0]) >= 4 and any(one.isdigit() for one in inner[0])
    return not all(one.isdigit() for one in inner) or len("".join(inner)) > 8


def stands_in(run: str, found: list[str]) -> bool:
    """Whether some words in a row, at most six of them, are the run without its blanks."""
    return any("".join(found[at : at + count]) == run for at in range(len(found)) for count in range(1, WORDS + 1))
