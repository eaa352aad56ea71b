"""One policy document: from its text to a plain structure, with the refusals of docs/mapl.md 1."""

import hashlib
from dataclasses import dataclass, field

from tests.reference.mapl.expressions import Node
from tests.reference.mapl.fields import (
    array_of,
    boolean_of,
    criterion_of,
    integer_of,
    object_of,
    patterns_of,
    policy_id_of,
    string_of,
    text_of,
    time_of,
)
from tests.reference.mapl.jsontext import digest, read_document
from tests.reference.mapl.refusals import RefusedError, below
from tests.reference.mapl.requirements import REQUIREMENTS_MAX, Meta, Requirement, parse_metas, parse_requirements
from tests.reference.mapl.sequences import Rule, parse_rules
from tests.reference.mapl.specs import (
    AllowedCheck,
    DeniedCheck,
    MaskedCheck,
    ParameterCheck,
    parse_allowed,
    parse_denied,
    parse_masked,
    parse_parameters,
)

RATE_MAX = 1_000_000
APPROVAL_TIMEOUT_SECONDS = 300
APPROVAL_CRITERION = "role:approver"
AUDIT_LEVELS = ("minimal", "standard", "full")
ORGANISATION = "org:"
RESERVED = ("intent:", "delegation:", "prompt:")
IGNORED_IN_INTENTS = {
    "purpose", "provided_capabilities", "required_resources", "data_access", "roots", "tool_prompts",
}  # fmt: skip

RawRequirement = tuple[str, str, Node | None]


@dataclass
class Document:
    """`policy_id` is empty only in an inline document that has none. Lists are in document order."""

    policy_id: str = ""
    digest: str = ""
    extends: str | None = None
    resources: list[str] = field(default_factory=list)
    denied_resources: list[str] = field(default_factory=list)
    requirements: list[Requirement] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    not_before: int | None = None
    not_after: int | None = None
    rate_limit: int | None = None
    parameters: list[ParameterCheck] = field(default_factory=list)
    allowed_parameters: list[AllowedCheck] = field(default_factory=list)
    denied_parameters: list[DeniedCheck] = field(default_factory=list)
    masked_parameters: list[MaskedCheck] = field(default_factory=list)
    metas: dict[str, Meta] = field(default_factory=dict)
    roles: list[str] = field(default_factory=list)
    audit_level: str | None = None
    approver: str | None = None  # the criterion of require_approval


def parse_document(text: str, *, inline: bool = False, signer: str | None = None) -> Document:
    """Raises RefusedError with the first fault in the order of the text. `inline`: intents, prompt policies.

    `signer` is who publishes it, "admin" or "organisation"; without it the prefix of the id is not judged.
    """
    value = read_document(text)
    document = Document(digest=digest(value))
    raw: list[RawRequirement] = []
    for name, member in object_of(value, "").items():
        read_field(document, raw, name, member, inline=inline)
        if name == "policy_id" and signer is not None:
            check_prefix(document.policy_id, signer)
    if document.policy_id == "" and not inline:
        raise RefusedError("E_POLICY_ID", "/policy_id")
    document.requirements = requirements_of(document, raw)
    return document


def check_prefix(policy_id: str, signer: str) -> None:
    """`org:` needs the organisation's key, which signs nothing else; three prefixes are nobody's."""
    if policy_id.startswith(RESERVED) or (policy_id.startswith(ORGANISATION) and signer != "organisation"):
        raise RefusedError("E_PREFIX_RESERVED", "/policy_id")
    if signer == "organisation" and not policy_id.startswith(ORGANISATION):
        raise RefusedError("E_SIGNER", "/policy_id")


def read_field(document: Document, raw: list[RawRequirement], name: str, member: object, *, inline: bool) -> None:
    at = below("", name)
    match name:
        case "policy_id":
            document.policy_id = policy_id_of(member, at)
        case "name" | "version" | "description" | "scope":
            text_of(member, at)
        case "extends" if not inline:  # ADR 0016: what comes with a call extends nothing
            document.extends = policy_id_of(member, at)
        case "resources":
            document.resources = patterns_of(member, at)
        case "denied_resources":
            document.denied_resources = patterns_of(member, at)
        case "attestations":
            raw += parse_requirements(member, at)
        case "sequence":
            document.rules = parse_rules(member, at, inline=inline)
        case "validity":
            read_validity(document, member, at)
        case "constraints":
            for constraint, argument in object_of(member, at).items():
                read_constraint(document, raw, constraint, argument, inline=inline)
        case _:
            if not (inline and name in IGNORED_IN_INTENTS):
                raise RefusedError("E_UNKNOWN_FIELD", at)


def read_constraint(document: Document, raw: list[RawRequirement], name: str, member: object, *, inline: bool) -> None:
    at = below("/constraints", name)
    match name:
        case "rate_limit":
            document.rate_limit = integer_of(member, at, 1, RATE_MAX, code="E_RATE")
        case "parameters":
            document.parameters = parse_parameters(member, at)
        case "allowed_parameters":
            document.allowed_parameters = parse_allowed(member, at)
        case "denied_parameters":
            document.denied_parameters = parse_denied(member, at)
        case "masked_parameters" if not inline:
            document.masked_parameters = parse_masked(member, at)
        case "attestations":
            if isinstance(member, list):  # the paper's form: the same list as at the top
                raw += parse_requirements(member, at)
            else:
                document.metas = parse_metas(member, at)
        case "roles":
            document.roles = [text_of(role, below(at, i)) for i, role in enumerate(array_of(member, at))]
        case "audit_level":
            if string_of(member, at) not in AUDIT_LEVELS:
                raise RefusedError("E_TYPE", at)
            document.audit_level = str(member)
        case "require_approval":
            if isinstance(member, str):
                document.approver = criterion_of(member, at)
            elif boolean_of(member, at):
                document.approver = APPROVAL_CRITERION
        case _:
            raise RefusedError("E_UNKNOWN_FIELD", at)


def read_validity(document: Document, member: object, pointer: str) -> None:
    for name, value in object_of(member, pointer).items():
        at = below(pointer, name)
        match name:
            case "not_before":
                document.not_before = time_of(value, at)
            case "not_after":
                document.not_after = time_of(value, at)
            case _:
                raise RefusedError("E_UNKNOWN_FIELD", at)
    before, after = document.not_before, document.not_after
    if before is not None and after is not None and before >= after:
        raise RefusedError("E_VALIDITY_EMPTY", pointer)


def requirements_of(document: Document, raw: list[RawRequirement]) -> list[Requirement]:
    """Join each requirement with the meta of its own document; add what require_approval stands for (section 1)."""
    raw = sorted(raw, key=lambda item: item[0].startswith("/constraints"))  # JCS order: "/attestations" stands before
    if len(raw) > REQUIREMENTS_MAX:
        raise RefusedError("E_LIMIT", "/attestations")
    joined = [Requirement(at, key, condition, document.metas.get(key, Meta())) for at, key, condition in raw]
    if document.approver is not None:
        key = "approval:" + hashlib.sha256(document.policy_id.encode()).hexdigest()[:32]
        meta = Meta(criteria=[document.approver], timeout=APPROVAL_TIMEOUT_SECONDS, one_time=True)
        joined.append(Requirement("/constraints/require_approval", key, None, meta))
    return joined
