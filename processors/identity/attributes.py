"""Attributes of a principal: set at registration (or by a bridge), read by policies, never taken from a call."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from processors.policy.errors import AttributeInvalidError
from processors.policy.names import TOOL_PREFIX
from processors.policy.resolve import Subject
from processors.proof import jcs
from processors.refusal import Refusal
from schemas import limits
from schemas.reasons import Reason
from schemas.words import Role

_TEXTS = ("company", "business_unit", "team", "user", "email")
NAMES = frozenset({*_TEXTS, "roles", "groups", "clearance"})  # policies look at these and at no others


def subject_of(attributes: str, role: str, principal_id: str) -> Subject:
    """Return the subject that policies judge: these attributes, and the name of the program.

    Raises:
        Refusal: ATTRIBUTE_INVALID where they are not a JSON object of strings and lists of strings, or a value could
            be taken for a pattern.
    """
    # The largest take 200 KB when they are read, and somebody may name other ones with every record.
    remembered = _usual if len(attributes) <= limits.ATTRIBUTES_CHARS_USUAL else _large
    return remembered(attributes, role, principal_id)


def subject_as_written(values: Mapping[str, object], role: str, principal_id: str) -> Subject:
    """Return the subject that attributes describe where people wrote them: with names that policies look at.

    Raises:
        Refusal: ATTRIBUTE_INVALID for another name, and as `subject_of` does.
    """
    for name in values:
        if name not in NAMES:
            there_are = ", ".join(sorted(NAMES))
            raise Refusal(Reason.ATTRIBUTE_INVALID, f"no attribute is called {name!r}: there are {there_are}")
    try:
        text = jcs.canonical(values).decode()
    except jcs.NotJSONError as exc:
        raise Refusal(Reason.ATTRIBUTE_INVALID, str(exc)) from exc
    return subject_of(text, role, principal_id)


def _subject_of(attributes: str, role: str, principal_id: str) -> Subject:
    values = _parse(attributes)
    roles, groups = (_texts(values, name) for name in ("roles", "groups"))
    company, business_unit, team, user, email = (_text(values, name) for name in _TEXTS)
    try:
        return Subject(
            company=company,
            business_unit=business_unit,
            team=team,
            user=user,
            email=email,
            roles=roles,
            groups=groups,
            clearance=_text(values, "clearance") or "standard",
            agent=agent_of(role, principal_id),
            service=principal_id if role == Role.SERVICE else None,
            type=str(role),
            principal=principal_id,
        )
    except AttributeInvalidError as exc:
        raise Refusal(Reason.ATTRIBUTE_INVALID, str(exc)) from exc


_usual = functools.lru_cache(maxsize=8192)(_subject_of)
_large = functools.lru_cache(maxsize=256)(_subject_of)


def agent_of(role: str, principal_id: str) -> str | None:
    """Return the name under which policies know a program, None for who is no agent.

    A tool that calls others is a program too. Its name is one that no agent can have: else who may register tools could
    take the rights that were meant for an agent.
    """
    names: dict[str, str] = {Role.AGENT: principal_id, Role.TOOL: f"{TOOL_PREFIX}{principal_id}"}
    return names.get(role)


def _parse(text: str) -> dict[str, object]:
    if len(text.encode("utf-8", "surrogatepass")) > limits.ATTRIBUTES_BYTES_MAX:
        raise Refusal(Reason.ATTRIBUTE_INVALID, f"want at most {limits.ATTRIBUTES_BYTES_MAX} bytes")
    try:
        value = jcs.parse_strict(text.encode("utf-8", "surrogatepass"))
    except jcs.MalformedJSONError as exc:
        raise Refusal(Reason.ATTRIBUTE_INVALID, str(exc)) from exc
    if not jcs.is_stream_safe(text):
        raise Refusal(Reason.ATTRIBUTE_INVALID, "too many combining marks in a row")
    if not isinstance(value, dict):
        raise Refusal(Reason.ATTRIBUTE_INVALID, "want a JSON object")
    for name, item in value.items():
        if not isinstance(item, str) and not (isinstance(item, list) and all(isinstance(t, str) for t in item)):
            raise Refusal(Reason.ATTRIBUTE_INVALID, f"want a string or a list of strings at {name!r}")
    return dict(value)


def _text(values: dict[str, object], name: str) -> str | None:
    value = values.get(name)
    if value is not None and not isinstance(value, str):
        raise Refusal(Reason.ATTRIBUTE_INVALID, f"want a string at {name!r}")
    return value


def _texts(values: dict[str, object], name: str) -> tuple[str, ...]:
    value = values.get(name, ())
    return (value,) if isinstance(value, str) else tuple(value)  # type: ignore[arg-type]
