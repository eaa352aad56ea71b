"""Attributes of a principal: set at registration or by a bridge, read by policies, never taken from a call.

Every rule on their values is here: of registrations, of persons' sessions, and of what an enrolment key may give.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from processors.policy.errors import AttributeInvalidError
from processors.policy.index import Remembered
from processors.policy.names import TOOL_PREFIX
from processors.policy.resolve import Subject
from processors.refusal import Refusal
from processors.text.forms import is_stream_safe, nfc
from schemas import limits
from schemas.events.attributes import LISTS, NAMES, READ_BY_POLICIES, TEXTS, Attributes, size_of, texts_of, weight_of
from schemas.reasons import Reason
from schemas.words import Role

_REMEMBERED_MAX = 8192
_ready = Remembered(_REMEMBERED_MAX, limits.ATTRIBUTES_REMEMBERED_BYTES_MAX)


def subject_of(attributes: Attributes, role: str, principal_id: str) -> Subject:
    """Return the subject that policies judge: these attributes, and the name of the program.

    Raises:
        Refusal: ATTRIBUTE_INVALID if the attributes are too large, a list has a text twice or too many texts, or a text
            could be taken for a pattern or holds an invisible character.
    """
    key = attributes, role, principal_id
    subject = _ready.get(key)
    if subject is None:
        subject = _subject_of(*key)
        _ready.put(key, subject, weight_of(attributes))
    assert isinstance(subject, Subject)
    return subject


def subject_as_written(values: Mapping[str, object], role: str, principal_id: str) -> Subject:
    """Return the subject with attributes that people wrote into a file; only names that policies read are allowed.

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

    A tool that calls others is a program too. It gets a name that no agent can have: otherwise a key that may register
    tools could take the rights of an agent.
    """
    names: dict[str, str] = {Role.AGENT: principal_id, Role.TOOL: f"{TOOL_PREFIX}{principal_id}"}
    return names.get(role)


def _check(attributes: Attributes) -> None:
    """Check the rules that do not depend on the subject. Raises Refusal ATTRIBUTE_INVALID."""
    if (size := size_of(attributes)) > limits.ATTRIBUTES_BYTES_MAX:
        got = f"got {size} bytes of attributes, want at most {limits.ATTRIBUTES_BYTES_MAX}"
        raise Refusal(Reason.ATTRIBUTE_INVALID, got)
    # First, because normalising a text that is not stream-safe takes long.
    if not is_stream_safe("\n".join(texts_of(attributes))):
        raise Refusal(Reason.ATTRIBUTE_INVALID, "an attribute has a text with too many combining marks in a row")
    for name in LISTS:
        listed: tuple[str, ...] = getattr(attributes, name)
        if len(listed) > 1 and len({nfc(text) for text in listed}) < len(listed):
            raise Refusal(Reason.ATTRIBUTE_INVALID, f"{name} has the same text twice (in Unicode's normal form C)")


def attributes_from(values: object, *, names: Collection[str] = NAMES) -> Attributes:
    """Return the attributes in a JSON object or a YAML mapping; one text may stand for a list of one.

    `names` are the allowed names. Only the form is checked; `subject_of` checks the bounds.

    Raises:
        AttributeInvalidError: `values` has another name, a value of another type, or a text that is not Unicode.
    """
    if not isinstance(values, Mapping):
        raise AttributeInvalidError('attributes must be an object by name, like {"roles": ["analyst"]}')
    unknown = [name for name in values if name not in names]
    if unknown:
        raise AttributeInvalidError(f"no attribute is called {unknown[0]!r}; the names are {', '.join(names)}")
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
