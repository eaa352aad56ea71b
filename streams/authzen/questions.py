"""From the body of a request to questions (AuthZEN Authorization API 1.0, sections 5 to 7).

The resource name of the policy language is `<type>:<id>/<action>`. Its parameters are the properties of resource and
action together. If both have a property of one name with different values, the question is denied, because policy and
caller could mean different values.

    {"subject": {"type": "user", "id": "alice"}, "action": {"name": "transfer", "properties": {"amount": 5}},
     "resource": {"type": "tool", "id": "bank", "properties": {"to": "bob"}}}
    -> may the person alice call tool:bank/transfer with {"to": "bob", "amount": 5}?

Only type and id of the subject count; its attributes come from the directory. Members unknown to the specification are
ignored, as the specification requires. Messages name members and never quote values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from processors.calls.parameters import MalformedParametersError, parse_parameters
from processors.proof import jcs
from processors.proof.jcs import JSONValue
from processors.text.forms import nfkc
from schemas.errors import InputError
from streams.authzen import limits

_TYPE = re.compile(r"[a-z][a-z0-9._-]{0,31}")  # the domain of a resource name
_ENTITIES = ("subject", "action", "resource", "context")
_OPTIONAL = frozenset({"context", "options"})
_REQUIRED = {"subject": ("type", "id"), "action": ("name",), "resource": ("type", "id")}

Object = dict[str, JSONValue]


class MalformedRequestError(InputError):
    """A member of a request is missing or wrong; the message names the member."""


class UnaskableError(InputError):
    """The policy language has no such call. `reason` is the code of the denial."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Semantic(StrEnum):
    """The rule after which answer a batch ends (`evaluations_semantic`)."""

    EXECUTE_ALL = "execute_all"
    DENY_ON_FIRST_DENY = "deny_on_first_deny"
    PERMIT_ON_FIRST_PERMIT = "permit_on_first_permit"

    def ends_with(self, *, decision: bool) -> bool:
        """Return True if an answer with this decision is the last one of the batch."""
        return self is (Semantic.PERMIT_ON_FIRST_PERMIT if decision else Semantic.DENY_ON_FIRST_DENY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question about one subject, one action and one resource. `ignored` names given members that do not count."""

    subject_type: str
    subject_id: str
    resource_type: str
    resource_id: str
    action: str
    resource_properties: Mapping[str, JSONValue] = field(default_factory=dict, repr=False)
    action_properties: Mapping[str, JSONValue] = field(default_factory=dict, repr=False)
    ignored: tuple[str, ...] = ()

    def resource_name(self) -> str:
        """Return the name of the resource. Raises UnaskableError RESOURCE_INVALID."""
        # Two questions must never have one name: a type holds no colon, an action no slash in any spelling.
        action = nfkc(self.action) if len(self.action) <= limits.ACTION_CHARS_MAX else ""
        if not _TYPE.fullmatch(self.resource_type) or not self.resource_id or not action or {"/", "\\"} & set(action):
            raise UnaskableError("RESOURCE_INVALID")
        return f"{self.resource_type}:{self.resource_id}/{self.action}"

    def parameters(self) -> dict[str, JSONValue]:
        """Return the properties of resource and action together, as strictly as a call's parameters are read.

        Raises:
            UnaskableError: PROPERTIES_CONFLICT, MALFORMED_PARAMETERS.
        """
        both = self.resource_properties.keys() & self.action_properties.keys()
        if any(jcs.canonical(self.resource_properties[n]) != jcs.canonical(self.action_properties[n]) for n in both):
            raise UnaskableError("PROPERTIES_CONFLICT")
        merged = {**self.resource_properties, **self.action_properties}
        try:
            # Read again: names may have become equal after NFC, and a call is allowed less depth than a body.
            return parse_parameters(jcs.canonical(merged).decode()).value
        except MalformedParametersError as exc:
            reason = "PROPERTIES_CONFLICT" if exc.cause == "duplicate" else "MALFORMED_PARAMETERS"
            raise UnaskableError(reason) from None


@dataclass(frozen=True, slots=True)
class QuestionBatch:
    """Several evaluations of one request, each with the defaults filled in and not read yet."""

    semantic: Semantic
    evaluations: tuple[JSONValue, ...] = field(repr=False)
    defaults: Object = field(repr=False)

    def questions(self) -> Iterator[Question | MalformedRequestError]:
        """Yield each question, or the error of a malformed one, in order."""
        for evaluation in self.evaluations:
            try:
                yield read_question(_with_defaults(evaluation, self.defaults))
            except MalformedRequestError as exc:
                yield exc


def read_body(text: bytes) -> Object:
    """Return the one JSON object of a body. Raises MalformedRequestError."""
    try:
        value = jcs.parse_strict(text, depth_max=limits.BODY_DEPTH_MAX, nodes_max=limits.BODY_NODES_MAX)
    except jcs.MalformedJSONError as exc:
        raise MalformedRequestError(f"the body is not strict JSON: {exc.cause}") from None
    if not isinstance(value, dict):
        raise MalformedRequestError("the body is not a JSON object")
    return value


def read_batch(body: Object) -> QuestionBatch | None:
    """Return the evaluations of a request, None if it is a single evaluation.

    Raises:
        MalformedRequestError: evaluations or options are malformed, or there are more than EVALUATIONS_MAX evaluations.
    """
    evaluations = body.get("evaluations", [])
    if not isinstance(evaluations, list):
        raise MalformedRequestError("evaluations: must be an array")
    if len(evaluations) > limits.EVALUATIONS_MAX:
        raise MalformedRequestError(f"evaluations: there are {len(evaluations)}, allowed are {limits.EVALUATIONS_MAX}")
    semantic = _semantic(_object(_said(body), "options").get("evaluations_semantic", Semantic.EXECUTE_ALL))
    if not evaluations:
        return None
    defaults = {name: value for name, value in _said(body).items() if name in _ENTITIES}
    for name, value in defaults.items():
        if not isinstance(value, dict):
            raise MalformedRequestError(f"{name}: must be an object")
    return QuestionBatch(semantic, tuple(evaluations), defaults)


def read_question(body: Object) -> Question:
    """Return the question of one evaluation. Raises MalformedRequestError."""
    subject, action, resource = (_entity(body, name) for name in _REQUIRED)
    resource_properties, action_properties = _properties(resource, "resource"), _properties(action, "action")
    ignored = {"context": _object(_said(body), "context"), "subject.properties": _properties(subject, "subject")}
    return Question(
        subject_type=_text(subject, "subject", "type"),
        subject_id=_text(subject, "subject", "id"),
        resource_type=_text(resource, "resource", "type"),
        resource_id=_text(resource, "resource", "id"),
        action=_text(action, "action", "name"),
        resource_properties=resource_properties,
        action_properties=action_properties,
        ignored=tuple(name for name, given in ignored.items() if given),
    )


def _said(body: Object) -> Object:
    """Return a body without optional members that are `null`. Clients in Go write an unset map as `null`."""
    return {name: value for name, value in body.items() if value is not None or name not in _OPTIONAL}


def _semantic(value: JSONValue) -> Semantic:
    if not isinstance(value, str) or value not in {one.value for one in Semantic}:
        raise MalformedRequestError(f"options.evaluations_semantic: must be one of {', '.join(Semantic)}")
    return Semantic(value)


def _with_defaults(evaluation: JSONValue, defaults: Object) -> Object:
    """Return an evaluation with its missing members taken from the defaults of the request.

    An entity of the evaluation replaces the default entity, properties included. Only a type, id or name that it lacks
    comes from the default.
    """
    if not isinstance(evaluation, dict):
        raise MalformedRequestError("evaluation: must be an object")
    whole = {
        **defaults,
        **{name: value for name, value in evaluation.items() if name in _REQUIRED or value is not None},
    }
    for name, members in _REQUIRED.items():
        own, default = evaluation.get(name), defaults.get(name)
        if isinstance(own, dict) and isinstance(default, dict):
            whole[name] = {**{member: default[member] for member in members if member in default}, **own}
    return whole


def _entity(body: Object, name: str) -> Object:
    if name not in body:
        raise MalformedRequestError(f"{name}: is missing")
    return _object(body, name)


def _object(body: Object, name: str, *, within: str = "") -> Object:
    value = body.get(name, {})
    if not isinstance(value, dict):
        raise MalformedRequestError(f"{within}{name}: must be an object")
    return value


def _properties(entity: Object, name: str) -> Object:
    return _object(entity, "properties", within=f"{name}.")


def _text(entity: Object, name: str, member: str) -> str:
    value = entity.get(member)
    if not isinstance(value, str):
        raise MalformedRequestError(f"{name}.{member}: must be a string")
    return value
