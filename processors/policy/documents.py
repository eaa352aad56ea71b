"""Reading a policy document (docs/mapl.md 1): strict, complete, and with one stable code for each refusal.

Nothing is decided here. Parts that are prepared once, such as regular expressions, are compiled here.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from processors.policy import limits
from processors.policy.errors import PolicyBrokenError, PolicyError
from processors.policy.json_types import (
    as_choice,
    as_integer,
    as_label,
    as_list,
    as_object,
    as_text,
    pointer_to,
    read_object,
)
from processors.policy.listed import AllowedParameters, parse_allowed_parameters
from processors.policy.masks import MaskedParameters, parse_masked_parameters
from processors.policy.patterns import check_pattern
from processors.policy.regexes import Regexes
from processors.policy.requirements import (
    APPROVER,
    Meta,
    Requirement,
    approval_requirement,
    parse_criterion,
    parse_metas,
    parse_requirements,
)
from processors.policy.sequences import SequenceRule, parse_sequence, with_constants
from processors.policy.specs import DeniedParameter, ParameterConstraint, parse_denied_parameters, parse_parameters
from processors.policy.times import parse_time
from processors.proof import jcs
from processors.proof.jcs import JSONValue
from processors.text.characters import has_hidden, has_outer_blanks

__all__ = ["ParameterConstraint", "PolicyDocument", "PolicyError", "parse_inline", "parse_policy", "pointer_to"]

ORGANISATION_PREFIX = "org:"  # the organisation key's alone (docs/mapl.md 1)
RESERVED_PREFIXES = ("intent:", "delegation:", "prompt:")  # documents that come with a call, never published
INTENT_ID = "intent:"  # of a document that comes with a call and names itself nothing

# Accepted in an intent and without effect: remarks of its author (docs/mapl.md 1).
_INTENT_MEMBERS = frozenset(
    {"purpose", "provided_capabilities", "required_resources", "data_access", "roots", "tool_prompts"}
)
AUDIT_LEVELS = ("minimal", "standard", "full")


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDocument:
    """A policy as published, or as it came with a call. Two documents are equal if their digests are.

    `digest` is the SHA-256 of `canonical`, the document's RFC 8785 form after NFC; everything is in its order.
    """

    policy_id: str = field(compare=False)
    digest: bytes
    canonical: bytes = field(compare=False, repr=False)
    extends: str | None = field(default=None, compare=False)
    resources: tuple[str, ...] = field(default=(), compare=False)
    denied_resources: tuple[str, ...] = field(default=(), compare=False)
    allowed_parameters: tuple[AllowedParameters, ...] = field(default=(), compare=False)
    parameters: tuple[ParameterConstraint, ...] = field(default=(), compare=False)
    denied_parameters: tuple[DeniedParameter, ...] = field(default=(), compare=False)
    masked_parameters: tuple[MaskedParameters, ...] = field(default=(), compare=False)
    requirements: tuple[Requirement, ...] = field(default=(), compare=False)
    metas: dict[str, Meta] = field(default_factory=dict, compare=False)
    sequence: tuple[SequenceRule, ...] = field(default=(), compare=False)
    roles: tuple[str, ...] = field(default=(), compare=False)
    rate_limit: int | None = field(default=None, compare=False)
    audit_level: str | None = field(default=None, compare=False)
    not_before: int | None = field(default=None, compare=False)  # ms
    not_after: int | None = field(default=None, compare=False)  # ms
    inline: bool = False  # INVARIANT: compared, or an intent worded like a published policy could stand for it

    def meta_of(self, key: str) -> Meta:
        """Return the declaration of a key, or the default."""
        return self.metas.get(key, Meta())

    programs: int = field(default=0, compare=False)  # instructions of all its regular expressions

    @property
    def regexes(self) -> int:
        """How many regular expressions are in it."""
        conditions = sum(one.regexes for one in self.requirements) + sum(one.regexes for one in self.sequence)
        return conditions + sum(one.regex is not None for one in self.parameters)

    @property
    def patterns(self) -> int:
        """How many patterns are in it."""
        constrained = {one.opkey for one in self.parameters} | {one.opkey for one in self.denied_parameters}
        keys = len(constrained) + len(self.allowed_parameters) + len(self.masked_parameters)
        return len(self.resources) + len(self.denied_resources) + keys + 2 * len(self.sequence)


def parse_policy(text: bytes, *, organisation: bool = False, detecting: bool = True) -> PolicyDocument:
    """Return the policy that a JSON text states. `organisation` says that the organisation key signed it.

    Without `detecting` it must have none of the parts that engine 2 brought: rules on where a value came from, and
    masks.

    Raises:
        PolicyError: with the code and pointer of the first fault, in the order of the text. A member that is missing
            has no place and is reported last.
    """
    document = read_object(text)
    reader = _Reader(organisation=organisation, inline=False, detecting=detecting)
    reader.read(document)
    if reader.policy_id is None:
        raise PolicyError("E_POLICY_ID", "/policy_id")
    return reader.document(jcs.canonical(document))


def parse_inline(text: bytes) -> PolicyDocument:
    """Return a policy that came with a call: the same language without `extends`; an id has no effect.

    Raises:
        PolicyError: as `parse_policy`.
    """
    if len(text) > limits.INLINE_BYTES_MAX:
        raise PolicyError("E_LIMIT", "")
    document = read_object(text)
    reader = _Reader(organisation=False, inline=True)
    reader.read(document)
    return reader.document(jcs.canonical(document))


def check_inline(documents: tuple[PolicyDocument, ...]) -> None:
    """Raise PolicyBrokenError unless the documents that came with a call keep their bounds together."""
    totals = (
        (len(documents), limits.INLINE_DOCUMENTS_MAX),
        (sum(len(one.canonical) for one in documents), limits.INLINE_BYTES_MAX),
        (sum(one.patterns for one in documents), limits.INLINE_PATTERNS_MAX),
        (sum(len(one.requirements) for one in documents), limits.INLINE_REQUIREMENTS_MAX),
        (sum(one.regexes for one in documents), limits.INLINE_REGEXES_MAX),
    )
    if any(total > bound for total, bound in totals):
        raise PolicyBrokenError("the documents that came with the call exceed their bounds")


def check_policy_id(policy_id: str, pointer: str) -> None:
    """Raise PolicyError E_POLICY_ID unless a text, which is in NFC, can be the id of a policy."""
    if not 1 <= len(policy_id) <= limits.POLICY_ID_CHARS_MAX:
        raise PolicyError("E_POLICY_ID", pointer)
    if has_outer_blanks(policy_id) or has_hidden(policy_id) or "*" in policy_id or "\\" in policy_id:
        raise PolicyError("E_POLICY_ID", pointer)


_BY_PATH: dict[str, Callable[[JSONValue, str], object]] = {
    "allowed_parameters": parse_allowed_parameters,
    "denied_parameters": parse_denied_parameters,
    "masked_parameters": parse_masked_parameters,
}


class _Reader:
    """One document, member by member in the order of the text; each fault is raised where it stands."""

    def __init__(self, *, organisation: bool, inline: bool, detecting: bool = False) -> None:
        self._organisation = organisation
        self._detecting = detecting  # never of what comes with a call: its sender would choose what is remembered
        self._inline = inline
        self._regexes = Regexes(inline=inline)
        self.policy_id: str | None = None
        self._found: dict[str, object] = {}
        self._requirements: tuple[Requirement, ...] = ()
        self._listed: tuple[Requirement, ...] = ()  # those under `constraints`
        self._metas: dict[str, Meta] = {}
        self._approver: tuple[str, str] | None = None

    def read(self, document: dict[str, JSONValue]) -> None:
        """Take every member in. Raises PolicyError."""
        for name, value in document.items():
            self._member(name, value, pointer_to("", name))
        if len(self._requirements) + len(self._listed) > limits.REQUIREMENTS_MAX:
            raise PolicyError("E_LIMIT", "/constraints/attestations")

    def document(self, canonical: bytes) -> PolicyDocument:
        """Return the document that was read."""
        # What comes with a call cannot take the name, so neither the buckets nor the approvals, of what is published.
        policy_id = INTENT_ID if self._inline or self.policy_id is None else self.policy_id
        written = (
            replace(one, meta=self._metas[one.key]) if one.key in self._metas else one
            for one in (*self._requirements, *self._listed)
        )
        if "sequence" in self._found:
            parameters, rules = self._found.get("parameters", ()), self._found["sequence"]
            self._found["sequence"] = with_constants(rules, parameters)  # type: ignore[arg-type]
        approvals = [approval_requirement(policy_id, *self._approver)] if self._approver else []
        return PolicyDocument(
            policy_id=policy_id,
            digest=hashlib.sha256(canonical).digest(),
            canonical=canonical,
            requirements=(*written, *approvals),
            metas=self._metas,
            inline=self._inline,
            programs=self._regexes.programs,
            **self._found,  # type: ignore[arg-type]
        )

    def _member(self, name: str, value: JSONValue, here: str) -> None:
        match name:
            case "policy_id":
                self.policy_id = self._id(as_text(value, here), here)
            case "name" | "version" | "description" | "scope":
                as_label(value, here)
            case "extends" if not self._inline:  # else its sender could ask what others' policies say
                self._found["extends"] = as_text(value, here)
            case "resources" | "denied_resources":
                self._found[name] = _patterns(value, here)
            case "attestations":
                self._requirements = parse_requirements(value, here, self._regexes)
            case "sequence":
                self._found["sequence"] = parse_sequence(value, here, self._regexes, provenance=self._detecting)
            case "validity":
                self._validity(as_object(value, here), here)
            case "constraints":
                self._constraints(as_object(value, here), here)
            case _:
                self._without_effect(name, here)

    def _without_effect(self, name: str, here: str) -> None:
        if not (self._inline and name in _INTENT_MEMBERS):
            raise PolicyError("E_UNKNOWN_FIELD", here)

    def _id(self, policy_id: str, here: str) -> str:
        check_policy_id(policy_id, here)
        if self._inline:
            return policy_id
        reserved = policy_id.startswith(ORGANISATION_PREFIX) and not self._organisation
        if reserved or policy_id.startswith(RESERVED_PREFIXES):
            raise PolicyError("E_PREFIX_RESERVED", here)
        return policy_id

    def _validity(self, validity: dict[str, JSONValue], here: str) -> None:
        for name, value in validity.items():
            there = pointer_to(here, name)
            if name not in {"not_before", "not_after"}:
                raise PolicyError("E_UNKNOWN_FIELD", there)
            self._found[name] = parse_time(as_text(value, there), there)
        begin, end = self._found.get("not_before"), self._found.get("not_after")
        if isinstance(begin, int) and isinstance(end, int) and begin >= end:
            raise PolicyError("E_VALIDITY_EMPTY", here)

    def _constraints(self, constraints: dict[str, JSONValue], here: str) -> None:
        for name, value in constraints.items():
            self._constraint(name, value, pointer_to(here, name))

    def _constraint(self, name: str, value: JSONValue, here: str) -> None:
        match name:
            case "parameters":
                self._found[name] = parse_parameters(value, here, self._regexes)
            case "masked_parameters" if not self._detecting:
                raise PolicyError("E_UNKNOWN_FIELD", here)
            case "allowed_parameters" | "denied_parameters" | "masked_parameters":
                self._found[name] = _BY_PATH[name](value, here)
            case "rate_limit":
                self._found[name] = as_integer(value, here, low=1, high=limits.RATE_MAX, code="E_RATE")
            case "roles":
                self._found[name] = _roles(value, here)
            case "audit_level":
                self._found[name] = as_choice(value, here, AUDIT_LEVELS)
            case "require_approval":
                self._approval(value, here)
            case "attestations" if isinstance(value, list):
                self._listed = parse_requirements(value, here, self._regexes)
            case "attestations":
                self._metas = parse_metas(value, here)
            case _:
                raise PolicyError("E_UNKNOWN_FIELD", here)

    def _approval(self, value: JSONValue, here: str) -> None:
        if isinstance(value, bool):
            self._approver = (APPROVER, here) if value else None
        else:
            self._approver = (parse_criterion(value, here), here)


def _patterns(value: JSONValue, pointer: str) -> tuple[str, ...]:
    patterns = as_list(value, pointer, items_max=limits.PATTERNS_MAX)
    for index, pattern in enumerate(patterns):
        here = pointer_to(pointer, index)
        check_pattern(as_text(pattern, here), here)
    return tuple(map(str, patterns))


def _roles(value: JSONValue, pointer: str) -> tuple[str, ...]:
    roles = as_list(value, pointer, items_max=limits.CONSTRAINT_ROLES_MAX)
    return tuple(as_label(role, pointer_to(pointer, at)) for at, role in enumerate(roles))
