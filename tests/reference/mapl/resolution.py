"""Which documents speak about a call, for one of its subjects (docs/mapl.md 6)."""

import json
from dataclasses import dataclass, field

from tests.reference.mapl.chains import BrokenPolicyError, chain, current
from tests.reference.mapl.documents import Document, parse_document
from tests.reference.mapl.expressions import Node
from tests.reference.mapl.names import (
    InvalidResourceError,
    app_of,
    domain_and_rest,
    name_of,
    restriction_forms,
    split_foreign,
)
from tests.reference.mapl.refusals import RefusedError
from tests.reference.mapl.text import fold, has_control_or_format, jcs_order, nfc, slug
from tests.reference.mapl.world import Call, World

STRINGS = ("user", "company", "business_unit", "team", "email", "clearance", "agent", "service", "type")
ARRAYS = {"roles": 64, "groups": 256}  # section 1: 64 roles, 256 groups
LAYER_PREFIXES = {
    "org", "role", "base", "company", "bu", "team", "user", "agent", "service", "restrict", "filter", "app", "intent",
    "delegation", "prompt",
}  # fmt: skip
NEVER_GRANTING = ("org:", "restrict:", "filter:")
REQUIRABLE = {"company": "company", "bu": "business_unit", "team": "team", "user": "user", "roles": "roles"}

INLINE_BYTES_MAX = 8 * 1024
INLINE_PATTERNS_MAX = 64
INLINE_REQUIREMENTS_MAX = 16
INLINE_REGEXES_MAX = 8
INLINE_REGEX_CODE_POINTS_MAX = 128
INTENTS_MAX = 2


class InvalidAttributeError(Exception):
    """ATTRIBUTE_INVALID: there is no such session."""


@dataclass
class Applied:
    """A document in the conjunction. `grants`: whether some way it was reached grants. `bucket` keys its rate."""

    document: Document
    layer: str
    grants: bool
    via: str
    bucket: str
    spelt: bool = False  # ADR 0016: found under another spelling of the resource's name


@dataclass
class Branch:
    """One role: the alternatives of layer 2."""

    branch_id: str
    applied: list[Applied]


@dataclass
class Resolved:
    common: list[Applied] = field(default_factory=list)
    branches: list[Branch] = field(default_factory=list)
    role_denials: list[Document] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)


def principal_of(attributes: dict[str, object]) -> dict[str, object]:
    """The attributes as conditions and look-ups see them: NFC, verbatim otherwise, with the two defaults."""
    principal: dict[str, object] = {}
    for name, value in attributes.items():
        if name in STRINGS:
            principal[name] = attribute(value)
        elif name in ARRAYS:
            if not isinstance(value, list) or len(value) > ARRAYS[name]:
                raise InvalidAttributeError
            if value:  # ADR 0012, 11: an empty list is no attribute
                principal[name] = [attribute(item) for item in value]
    if "user" in principal:
        principal["user_id"] = principal["user"]
    return {"clearance": "standard", "type": "user"} | principal


def attribute(value: object) -> str:
    if not isinstance(value, str) or has_control_or_format(value) or "*" in value:
        raise InvalidAttributeError
    return nfc(value)


def resolve(world: World, call: Call, principal: dict[str, object], resource: str) -> Resolved:
    """Layers 1 to 10 in their order, the role branches apart. Raises BrokenPolicyError."""
    resolved = Resolved()
    for policy_id in sorted((i for i in world.policies if i.startswith("org:")), key=jcs_order):
        look_up(world, resolved, policy_id, "organisation")
    if call.trusted is None:  # the attributes of a foreign caller select no ids here
        resolve_roles(world, resolved, principal)
        for layer, policy_id in subject_ids(principal):
            look_up(world, resolved, policy_id, layer)
    for policy_id in resource_ids(resource):
        look_up(world, resolved, policy_id, "resource")
    resolve_spellings(world, resolved, resource)
    if call.trusted is not None:
        trusted = Document(policy_id="trusted", resources=call.trusted)
        resolved.common.append(Applied(trusted, "resource", True, "inline", "trusted"))
    resolve_inline(world, call, resolved)
    resolved.common = once(resolved.common)
    return resolved


def resolve_roles(world: World, resolved: Resolved, principal: dict[str, object]) -> None:
    """Per role one branch; a branch naming no resources joins the common layers; every denial counts.

    Resources that cannot grant (an ancestor `restrict:`, `filter:` or `org:`) do not make a branch an alternative:
    such a branch would wait at NO_POLICY for any later grant, against the theorem of section 5. See NOTES.md.
    """
    roles = principal.get("roles", [])
    for role in dict.fromkeys(roles if isinstance(roles, list) else []):
        branch = Resolved()
        for policy_id in (f"role:{role}", f"base:role:{role}"):
            look_up(world, branch, policy_id, "role")
        resolved.found += branch.found
        resolved.absent += branch.absent
        applied = once(branch.common)
        resolved.role_denials += [a.document for a in applied]
        if any(a.grants and a.document.resources for a in applied):
            resolved.branches.append(Branch(min(branch.found, key=jcs_order), applied))
        else:
            resolved.common += applied


def subject_ids(principal: dict[str, object]) -> list[tuple[str, str]]:
    """Layers 3 to 8."""
    ids: list[tuple[str, str]] = []
    for layer, name, prefix, restriction in (
        ("company", "company", "company:", "restrict:org:"),
        ("business unit", "business_unit", "bu:", "restrict:bu:"),
        ("team", "team", "team:", "restrict:team:"),
    ):
        if name in principal:
            ids += [(layer, prefix + str(principal[name])), (layer, restriction + slug(str(principal[name])))]
    for user in dict.fromkeys(str(principal[name]) for name in ("user", "email") if name in principal):
        ids.append(("user", "user:" + user))
    ids += [("caller", f"{name}:{principal[name]}") for name in ("agent", "service") if name in principal]
    return [*ids, ("clearance", "filter:clearance:" + slug(str(principal["clearance"])))]


def resource_ids(resource: str) -> list[str]:
    """Layer 9: `app:<app>`, then every prefix of the name at `/`. Names that look like layers stand under `res:`."""
    looked_up = "res:" + resource if domain_and_rest(resource)[0] in LAYER_PREFIXES else resource
    prefixes = [looked_up[:i] for i, character in enumerate(looked_up) if character == "/"] + [looked_up]
    app = app_of(resource)
    return ([] if app is None else [f"app:{app}"]) + prefixes


def resolve_spellings(world: World, resolved: Resolved, resource: str) -> None:
    """ADR 0016: a resource's own policies under another spelling of its name apply, and never grant."""
    tenant, _ = split_foreign(resource)
    forms = [form for form in restriction_forms(resource) if form.startswith(tenant)]
    wanted = {spelt for form in forms for spelt in resource_ids(form)}
    exact = resource_ids(resource)
    for policy_id in sorted(world.policies, key=jcs_order):
        if policy_id not in exact and is_resource_id(policy_id) and wanted & id_forms(policy_id):
            found = Resolved()
            look_up(world, found, policy_id, "resource")
            resolved.found += found.found
            for one in found.common:
                one.grants, one.spelt = False, True
            resolved.common += found.common


def is_resource_id(policy_id: str) -> bool:
    """Section 6: what no other layer looks up."""
    layers = ("org:", "role:", "base:role:", "company:", "bu:", "team:", "user:", "agent:", "service:", "filter:")
    return not policy_id.startswith((*layers, "restrict:org:", "restrict:bu:", "restrict:team:"))


def id_forms(policy_id: str) -> set[str]:
    try:
        return {fold(policy_id), *restriction_forms(name_of(policy_id))}
    except InvalidResourceError:
        return {fold(policy_id)}


def look_up(world: World, resolved: Resolved, policy_id: str, layer: str) -> None:
    """An id that exists is applied with its chain; ancestors grant as the layer does, three prefixes never."""
    if policy_id not in world.policies:
        resolved.absent.append(policy_id)
        return
    resolved.found.append(policy_id)
    layer_grants = not policy_id.startswith(NEVER_GRANTING)
    for i, document in enumerate(chain(world.policies, current(world.policies, policy_id))):
        grants = layer_grants and not document.policy_id.startswith(NEVER_GRANTING)
        via = "lookup" if i == 0 else "extends"
        resolved.common.append(Applied(document, layer, grants, via, document.policy_id))


def resolve_inline(world: World, call: Call, resolved: Resolved) -> None:
    """Layer 10: the call's intents and prompts, which extend nothing (ADR 0016). None of them grants."""
    check_inline_size(call)
    if len(call.intents) > INTENTS_MAX:
        raise BrokenPolicyError("intent")
    for layer, texts in (("intent", call.intents), ("prompt", call.prompts)):
        for text in texts:
            try:
                document = parse_document(text, inline=True)
            except RefusedError:
                raise BrokenPolicyError(layer) from None
            resolved.common.append(Applied(document, layer, False, "inline", f"{layer}:{call.session}"))


def check_inline_size(call: Call) -> None:
    """Section 1: intents, prompt policies and scopes together."""
    texts = [*call.intents, *call.prompts, *(json.dumps(hop.scope) for hop in call.delegation)]
    documents = []
    for text in [*call.intents, *call.prompts]:
        try:
            documents.append(parse_document(text, inline=True))
        except RefusedError:
            raise BrokenPolicyError("intent") from None
    scoped = [hop.scope.get("resources") for hop in call.delegation if isinstance(hop.scope, dict)]
    patterns = sum(len(s) for s in scoped if isinstance(s, list)) + sum(count_patterns(d) for d in documents)
    regexes = [regex for d in documents for regex in regexes_of(d)]
    if (
        sum(len(text.encode()) for text in texts) > INLINE_BYTES_MAX
        or patterns > INLINE_PATTERNS_MAX
        or sum(len(d.requirements) for d in documents) > INLINE_REQUIREMENTS_MAX
        or len(regexes) > INLINE_REGEXES_MAX
        or any(len(regex) > INLINE_REGEX_CODE_POINTS_MAX for regex in regexes)
    ):
        raise BrokenPolicyError("intent")


def count_patterns(document: Document) -> int:
    opkeys = {c.opkey for c in document.parameters} | {c.opkey for c in document.denied_parameters}
    listed = len(document.allowed_parameters)
    listed += len({c.opkey for c in document.masked_parameters})
    return len(document.resources) + len(document.denied_resources) + len(opkeys) + listed


def regexes_of(document: Document) -> list[str]:
    conditions = [r.condition for r in document.requirements] + [r.condition for r in document.rules]
    patterns = [str(c.spec["pattern"]) for c in document.parameters if "pattern" in c.spec]
    return patterns + [regex for condition in conditions for regex in regexes_in(condition)]


def regexes_in(node: Node | None) -> list[str]:
    match node:
        case ("regex", _, regex):
            return [regex]
        case ("or" | "and", parts):
            return [regex for part in parts for regex in regexes_in(part)]
        case ("not", part):
            return regexes_in(part)
        case _:
            return []


def once(applied: list[Applied]) -> list[Applied]:
    """Section 5: a document is applied once however it is reached; it grants if any way grants."""
    kept: list[Applied] = []
    for one in applied:
        same = [k for k in kept if k.document.policy_id == one.document.policy_id and "inline" not in {k.via, one.via}]
        if same:
            same[0].grants = same[0].grants or one.grants
            same[0].spelt = same[0].spelt and one.spelt
        else:
            kept.append(one)
    return kept


def missing_layer(world: World, call: Call, principal: dict[str, object]) -> bool:
    """LAYER_MISSING. By default a person needs a company as soon as some company policy is current."""
    if call.trusted is not None:
        return False
    required = world.settings.get("required_layers")
    if required is None:
        by_company = any(policy_id.startswith(("company:", "restrict:org:")) for policy_id in world.policies)
        required = ["company"] if by_company and principal["type"] == "user" else []
    return any(not principal.get(REQUIRABLE[name]) for name in required)  # type: ignore[attr-defined]
