"""Tests for constrained parameters of a call (docs/mapl.md 3). Grant position: to the letter, nothing coerced.

A test takes parameters with names in NFC at the top, and the rest of the decision's budget; it returns a reason to
deny, or an empty text. Order inside one spec: required, type, allowed values, bounds, pattern, sizes.
"""

from collections.abc import Callable

from processors.policy import limits
from processors.policy.evaluation import ABSENT, Parameters, Unseen, Work, inspected, present, seen, spend
from processors.policy.globs import grant_glob
from processors.policy.json_types import nfc_value
from processors.policy.paths import MISMATCH, ParsedPath, reached
from processors.policy.patterns import is_one_path
from processors.policy.regexes import Regex
from processors.policy.specs import ParameterConstraint
from processors.proof import jcs
from processors.proof.jcs import JSONValue
from processors.text.characters import utf8_size
from processors.text.forms import is_stream_safe, nfc

Test = Callable[[Parameters, Work], str]
_ValueTest = Callable[[object, Work], str]
_UnseenTest = Callable[[Unseen], str]

_REQUIRED, _TYPE, _VALUE = "PARAM_REQUIRED", "PARAM_TYPE", "PARAM_NOT_ALLOWED"
_RANGE, _PATTERN, _SIZE = "PARAM_OUT_OF_RANGE", "PARAM_PATTERN", "PARAM_SIZE"
_ALL = frozenset({"*", "**"})  # members that meet any value


def parameter_test(constraint: ParameterConstraint, *, strict: bool = False) -> Test:
    """Return the test of a constraint. `strict` is the tenant's setting: absent parameters are then denied too."""
    tests = list(_value_tests(constraint))
    unseen = _unseen(constraint)
    null = _REQUIRED if constraint.required else "" if _takes_null(constraint) else _TYPE
    absent = _REQUIRED if constraint.required or strict else ""
    if len(constraint.place.steps) > 1:
        return _nested(constraint.place, absent, null, tests, unseen)
    name = constraint.path
    if len(tests) == 1:
        return _single(name, absent, null, tests[0], unseen)

    def test(parameters: Parameters, work: Work) -> str:
        value = parameters.get(name, ABSENT)
        if value is ABSENT:
            return absent
        if value is None:
            return null
        if type(value) is Unseen:
            return unseen(value)
        for one in tests:
            if reason := one(value, work):
                return reason
        return ""

    return test


def _single(name: str, absent: str, null: str, only: _ValueTest, unseen: _UnseenTest) -> Test:
    def test(parameters: Parameters, work: Work) -> str:
        value = parameters.get(name, ABSENT)
        if value is ABSENT:
            return absent
        if type(value) is Unseen:
            return unseen(value)
        return null if value is None else only(value, work)

    return test


def _nested(place: ParsedPath, absent: str, null: str, tests: list[_ValueTest], unseen: _UnseenTest) -> Test:
    def test(parameters: Parameters, work: Work) -> str:
        values = reached(parameters, place, work, present)
        if not values:
            return absent
        if MISMATCH in values:
            return _TYPE
        if None in values and null:
            return null
        if reason := next(filter(None, (unseen(value) for value in values if type(value) is Unseen)), ""):
            return reason
        there = [value for value in values if value is not None and type(value) is not Unseen]
        for one in tests:  # each keyword is asked of every value before the next one is
            for value in there:
                if reason := one(value, work):
                    return reason
        return ""

    return test


def _unseen(constraint: ParameterConstraint) -> _UnseenTest:
    """Return the test of a text that travels beside the call: every keyword but `required` and a type looks at it."""
    bounds = (constraint.low, constraint.high, constraint.regex, constraint.least_length, constraint.most_length)
    items = (constraint.least_items, constraint.most_items)
    asks = any(one is not None for one in (*bounds, *items))
    if constraint.allowed is not None:
        asks = asks or not any(isinstance(member, str) and member in _ALL for member in constraint.allowed)
    fits = constraint.kind in {None, "string"}

    def unseen(value: Unseen) -> str:
        (seen if asks else present)(value)
        return "" if fits else _TYPE

    return unseen


def _takes_null(constraint: ParameterConstraint) -> bool:
    """Whether null passes: it is in the list, and nothing else of the spec asks for a type."""
    return constraint.kind is None and constraint.allowed is not None and None in constraint.allowed


def _value_tests(constraint: ParameterConstraint) -> list[_ValueTest]:
    """Return the tests of a value that is not null, in the order in which they are asked.

    Each keyword looks at the type itself. A test of the type alone comes first where something else would be asked
    before the keyword is: the type is wrong before anything else is.
    """
    tests: list[_ValueTest] = []
    kind = constraint.kind
    if constraint.low is not None or constraint.high is not None:
        tests.append(_bounds(constraint.low, constraint.high, whole=kind == "integer"))
    if constraint.regex is not None:
        tests.append(_matches(constraint.regex))
    if constraint.least_length is not None or constraint.most_length is not None:
        tests.append(_length(constraint.least_length, constraint.most_length))
    if constraint.least_items is not None or constraint.most_items is not None:
        tests.append(_items(constraint.least_items, constraint.most_items))
    if constraint.allowed is not None:
        tests.insert(0, _allowed(constraint.allowed))
    one_value = len(constraint.place.steps) == 1
    if kind is not None and (constraint.allowed is not None or not tests or not one_value):
        tests.insert(0, _type(kind))
    return tests


def _type(kind: str) -> _ValueTest:
    if kind == "integer":
        return lambda value, _work: "" if _is_integer(value) else _TYPE
    if kind == "number":
        return lambda value, _work: "" if type(value) is int or type(value) is float else _TYPE
    wanted = {"string": str, "boolean": bool, "array": list, "object": dict}[kind]
    return lambda value, _work: "" if type(value) is wanted else _TYPE


def _is_integer(value: object) -> bool:
    return type(value) is int or (type(value) is float and value.is_integer())


def _bounds(low: float | None, high: float | None, *, whole: bool) -> _ValueTest:
    least = -float("inf") if low is None else low
    most = float("inf") if high is None else high

    def bounds(value: object, _work: Work) -> str:
        if type(value) is not int and (type(value) is not float or (whole and not value.is_integer())):
            return _TYPE  # a boolean is no number
        return "" if least <= value <= most else _RANGE

    return bounds


def _matches(regex: Regex) -> _ValueTest:
    matches, units = regex.matches, regex.units

    def pattern(value: object, work: Work) -> str:
        if type(value) is not str:
            return _TYPE
        text = value if value.isascii() else inspected(value, work)
        if text is None:
            return _PATTERN
        spend(work, limits.REGEX_UNITS + units * utf8_size(text))
        return "" if matches(text) else _PATTERN

    return pattern


def _length(least: int | None, most: int | None) -> _ValueTest:
    low, high = least or 0, float("inf") if most is None else most

    def length(value: object, work: Work) -> str:
        if type(value) is not str:
            return _TYPE
        text = value if value.isascii() else inspected(value, work)
        return "" if text is not None and low <= len(text) <= high else _SIZE

    return length


def _items(least: int | None, most: int | None) -> _ValueTest:
    low, high = least or 0, float("inf") if most is None else most

    def items(value: object, _work: Work) -> str:
        if type(value) is not list:
            return _TYPE
        return "" if low <= len(value) <= high else _SIZE

    return items


# ---- allowed values


def _allowed(members: tuple[JSONValue, ...]) -> _ValueTest:
    if any(isinstance(member, str) and member in _ALL for member in members):
        return lambda _value, _work: ""
    literals = frozenset(equality_key(m) for m in members if not (isinstance(m, str) and "*" in m))
    meets_a_pattern = _patterns([m for m in members if isinstance(m, str) and "*" in m])
    containers = any(isinstance(member, (list, dict)) for member in members)

    def allowed(value: object, work: Work) -> str:
        if type(value) is str:
            if value in literals:  # a text that is not in NFC is none of them yet
                return ""
            text = inspected(value, work)
            held = text is not None and (text in literals or meets_a_pattern(text, work))
        elif isinstance(value, (list, dict)):
            held = containers and equality_key(value, work) in literals
        else:
            held = equality_key(value, work) in literals
        return "" if held else _VALUE

    return allowed


def _patterns(patterns: list[str]) -> Callable[[str, Work], bool]:
    if not patterns:
        return lambda _text, _work: False
    globs = [grant_glob(pattern) for pattern in patterns]
    tests, base, units = [one.meets for one in globs], sum(one.base for one in globs), sum(one.units for one in globs)
    # A star stops at `\\` as it does at `/`: what is met must be met by the same pattern with slashes, too.
    slashed = [grant_glob(pattern.replace("\\", "/")).meets for pattern in patterns]

    def meets(text: str, work: Work) -> bool:
        spend(work, base + units * len(text))
        if "\\" not in text:
            met = any(test(text) for test in tests)
        else:
            spend(work, base + units * len(text))
            other = text.replace("\\", "/")
            met = any(test(text) and also(other) for test, also in zip(tests, slashed, strict=True))
        if not met:
            return False
        spend(work, limits.SPELLING_UNITS * utf8_size(text))
        return is_one_path(text)

    return meets


def equality_key(value: object, work: Work | None = None) -> str | bytes:
    """Return a key that exactly the equal JSON values share: a text in NFC, or the canonical bytes of anything else.

    With `work` it is paid for; raises WorkExceededError then. Raises BodyUnseenError if a body is in the value.
    """
    if isinstance(value, str):
        if work is not None:
            spend(work, 0 if value.isascii() else limits.TEXT_UNITS + limits.TEXT_BYTE_UNITS * utf8_size(value))
        return nfc(value) if is_stream_safe(value) else b""
    if type(value) is int:  # the bytes that follow anyway, sooner
        return b"%d" % value
    if type(value) is bool:
        return b"true" if value else b"false"
    if work is not None:
        spend(work, limits.KEY_NODE_UNITS * nodes_in(value))
    try:
        written = jcs.canonical(value)
        if work is not None:
            spend(work, limits.KEY_BYTE_UNITS * len(written))
        return jcs.canonical(nfc_value(value)) if is_stream_safe(written.decode()) else b""  # type: ignore[arg-type]
    except jcs.NotJSONError:
        check_seen_whole(value)
        return b""  # equal to nothing that a policy can hold


def check_seen_whole(value: object) -> None:
    """Raise BodyUnseenError if a body is in the value."""
    waiting = [value]
    while waiting:
        one = seen(waiting.pop())
        if isinstance(one, (list, dict)):
            waiting.extend(one.values() if isinstance(one, dict) else one)


def nodes_in(value: object) -> int:
    """Return how many values and member names a value is made of, itself included."""
    waiting, count = [value], 0
    while waiting:
        one = waiting.pop()
        count += 1
        if isinstance(one, dict):
            count += len(one)
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
    return count
