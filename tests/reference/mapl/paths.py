"""Paths into the parameters: `a`, `a.b`, `a[0]`, `a[*].b` (docs/mapl.md 3)."""

import re
from dataclasses import dataclass, field

from tests.reference.mapl.refusals import RefusedError

CHARS_MAX, STEPS_MAX = 1024, 128
EVERY = "*"  # the step `[*]`

# A name is any text without `.`, `[`, `]` and `*`; an index is written as JSON writes an integer.
FIRST = re.compile(r"[^.\[\]*]+")
STEP = re.compile(r"\.([^.\[\]*]+)|\[(0|[1-9][0-9]*)\]|\[(\*)\]")

Step = str | int


@dataclass
class Path:
    text: str
    steps: list[tuple[str, Step]]  # ("name", "a"), ("index", 0) or ("every", "*")


@dataclass
class Reached:
    """What a path reaches: values, and whether some step went through a value of the wrong type."""

    values: list[object] = field(default_factory=list)
    mismatch: bool = False


def parse_path(text: str, pointer: str) -> Path:
    first = FIRST.match(text)
    if first is None or len(text) > CHARS_MAX:
        raise RefusedError("E_PARAM_PATH", pointer)
    steps: list[tuple[str, Step]] = [("name", first[0])]
    at = first.end()
    while at < len(text):
        step = STEP.match(text, at)
        if step is None:
            raise RefusedError("E_PARAM_PATH", pointer)
        if step[1] is not None:
            steps.append(("name", step[1]))
        elif step[2] is not None:
            steps.append(("index", int(step[2])))
        else:
            steps.append(("every", EVERY))
        at = step.end()
    if len(steps) > STEPS_MAX:
        raise RefusedError("E_PARAM_PATH", pointer)
    return Path(text, steps)


def reach(path: Path, parameters: dict[str, object]) -> Reached:
    """Every value the path reaches, and the literal top-level member that is named like the path."""
    reached = Reached()
    walk(path.steps, parameters, reached)
    if len(path.steps) > 1 and path.text in parameters:
        reached.values.append(parameters[path.text])
    return reached


def walk(steps: list[tuple[str, Step]], value: object, reached: Reached) -> None:
    """A step through a value of the wrong type (null included) is a mismatch; a missing member or index is absent."""
    if not steps:
        reached.values.append(value)
        return
    (kind, step), rest = steps[0], steps[1:]
    if kind == "name":
        if not isinstance(value, dict):
            reached.mismatch = True
        elif step in value:
            walk(rest, value[step], reached)
        return
    if not isinstance(value, list):
        reached.mismatch = True
    elif kind == "every":
        for item in value:
            walk(rest, item, reached)
    elif isinstance(step, int) and step < len(value):
        walk(rest, value[step], reached)
