"""Attributes of a principal: set at registration or by a bridge, read by policies, never taken from a call.

Every rule on their values is here: of registrations, of persons' sessions, and of what an enrolment key may give.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from processors.policy.errors import AttributeInvalidError
from processors.policy.index import Remembered
from processors.policy.names import TOOL_PREFIX
from processors.policy.resolve import Subject
from processors.policy.text import nfc
from processors.proof import jcs
from processors.refusal import Refusal
from schemas import limits
from schemas.attributes import LISTS, NAMES, READ_BY_POLICIES, TEXTS, Attributes, size_of, texts_of, weight_of
from schemas.reasons import Reason
from schemas.words import Role

_REMEMBERED_MAX = 8192
_ready = Remembered(_REMEMBERED_MAX, limits.ATTRIBUTES_REMEMBERED_BYTES_MAX)


def subject_of(attributes: Attributes, role: str, principal_id: str) -> Subject:
    """Return the subject that policies judge: these attributes, and the name of the program.

    Raises:
        Refusal: ATTRIBUTE_INVALID where attributes are too large, a list has a text twice, has too many texts, or a
            text could be taken for a pattern or hides a character.
    """
    key = attributes, role, principal_id
    subject = _ready.get(key)
    if subject is None:
        subject = _subject_of(*key)
        _ready.put(key, subject, weight_of(attributes))
    assert isinstance(subject, Subject)
    return subject


def subject_as_written(values: Mapping[str, object], role: str, principal_id: str) -> Subject:
    """Return the subject that attributes describe where people wrote them: with names that policies look at.

    Raises:
        Refusal: ATTRIBUTE_INVALID for another name or type, and as `subject_of` does.
    """
    try:
        attributes = attributes_from(values, names=READ_BY_POLICIES)
    except AttributeInvalidError as exc:
        raise Refusal(Reason.ATTRIBUTE_INVALID, str(exc)) from exc
    return subject_of(attributes, role, principal_id)


def _subject_of(attributes: Attributes, role: str, principal_id: str) -> Subject:
    _check(attributes)
    try:
        return Subject(
            company=attributes.company,
            business_unit=attributes.business_unit,
            team=attributes.team,
            user=attributes.user,
            email=attributes.email,
            roles=attributes.roles,
            groups=attributes.groups,
            clearance=attributes.clearance or "standard",
            agent=agent_of(role, principal_id),
            service=principal_id if role == Role.SERVICE else None,
            type=str(role),
            principal=principal_id,
        )
    except AttributeInvalidError as exc:
        raise Refusal(Reason.ATTRIBUTE_INVALID, str(exc)) from exc


def agent_of(role: str, principal_id: str) -> str | None:
    """Return the name under which policies know a program, None for a principal that is not an agent or a tool.

    A tool that calls others is a program too. Its name is one that no agent can have: otherwise a key that may register
    tools could take the rights that were meant for an agent.
    """
    names: dict[str, str] = {Role.AGENT: principal_id, Role.TOOL: f"{TOOL_PREFIX}{principal_id}"}
    return names.get(role)


def _check(attributes: Attributes) -> None:
    """Check what does not depend on the subject. Raises Refusal ATTRIBUTE_INVALID."""
    if (size := size_of(attributes)) > limits.ATTRIBUTES_BYTES_MAX:
        raise Refusal(Reason.ATTRIBUTE_INVALID, f"got {size} bytes, want at most {limits.ATTRIBUTES_BYTES_MAX}")
    # Before any text is normalised, which takes long for one that is not stream-safe.
    if not jcs.is_stream_safe("\n".join(texts_of(attributes))):
        raise Refusal(Reason.ATTRIBUTE_INVALID, "a text has too many combining marks in a row")
    for name in LISTS:
        listed: tuple[str, ...] = getattr(attributes, name)
        if len(listed) > 1 and len({nfc(text) for text in listed}) < len(listed):
            raise Refusal(Reason.ATTRIBUTE_INVALID, f"{name} has a text twice (in Unicode's normal form C)")


def attributes_from(values: object, *, names: Collection[str] = NAMES) -> Attributes:
    """Return the attributes that a JSON object or a YAML mapping gives; one text may stand for a list of one.

    `names` are those that may be given. Only the form is checked; `subject_of` has the bounds.

    Raises:
        AttributeInvalidError: there is another name, a value of another type, or a text that is not Unicode.
    """
    if not isinstance(values, Mapping):
        raise AttributeInvalidError('want attributes by name, like {"roles": ["analyst"]}')
    unknown = [name for name in values if name not in names]
    if unknown:
        raise AttributeInvalidError(f"no attribute is called {unknown[0]!r}: want some of {', '.join(names)}")
    texts = {name: _text(name, values[name]) for name in TEXTS if name in values}
    lists = {name: _texts(name, values[name]) for name in LISTS if name in values}
    return Attributes(**texts, **lists)  # type: ignore[arg-type]


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise AttributeInvalidError(f"{name} is not a text: put it into quotes")
    try:
        value.encode()
    except UnicodeEncodeError as exc:
        raise AttributeInvalidError(f"{name} holds half a character (a lone surrogate)") from exc
    return value


def _texts(name: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (_text(name, value),)
    if not isinstance(value, (list, tuple)) or not all(isinstance(one, str) for one in value):
        raise AttributeInvalidError(f"{name} is not a text or a list of texts: put each into quotes")
    return tuple(_text(name, one) for one in value)
