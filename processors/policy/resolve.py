"""Which policies apply: from a subject's attributes and a resource's name to policy ids (docs/mapl.md 6).

Every id is looked up verbatim; whether such a policy exists is not known here. The id alone says the layer, because a
resource whose domain is the prefix of a layer is looked up under `res:`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache

import re2

from processors.policy import limits
from processors.policy.errors import AttributeInvalidError
from processors.policy.patterns import ResourceName, resource_name
from processors.policy.rates import bucket_prefix
from processors.text.characters import has_hidden
from processors.text.forms import casefold, nfc, nfkc

CLEARANCE_DEFAULT = "standard"
SERVICE_TYPE = "service"  # a subject of any other type, or of none, is judged as a user

_NOT_IN_SLUG = re2.compile("[^a-z0-9]+")

# Domains that would make a resource's own policy look like the policy of another layer.
_LAYER_DOMAINS = frozenset(
    {"org", "role", "base", "company", "bu", "team", "user", "agent", "service", "restrict", "filter", "app"}
    | {"intent", "delegation", "prompt"}
)


class Layer(Enum):
    """The layers of docs/mapl.md 6, in the order in which they are judged; delegation scopes are judged before them."""

    ORGANISATION = 1
    ROLE = 2
    COMPANY = 3
    BUSINESS_UNIT = 4
    TEAM = 5
    USER = 6
    PROGRAM = 7
    CLEARANCE = 8
    RESOURCE = 9
    INLINE = 10  # intents and prompts: what comes with the call, and never grants


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a policy stands by its id: its layer, whether it may grant there, and of which role it is a branch."""

    layer: Layer
    grants: bool
    role: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The caller: attributes fixed when the session began. `policy_ids` are to be looked up for it, in layer order.

    An empty text is no attribute. A subject lives as long as its session, so the ids are made once. `principal`
    pays: rate limits and counts are kept for it.

    Raises:
        AttributeInvalidError: an attribute is of another type, holds `*` or a control or format character, or there
            are too many roles or groups.
    """

    company: str | None = None
    business_unit: str | None = None
    team: str | None = None
    user: str | None = None
    email: str | None = None
    roles: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    clearance: str = CLEARANCE_DEFAULT
    agent: str | None = None
    service: str | None = None
    type: str | None = None
    principal: str = ""
    policy_ids: tuple[str, ...] = field(init=False, repr=False, compare=False)
    bucket_prefix: bytes = field(init=False, repr=False, compare=False)  # of the keys of its rate limits

    def __post_init__(self) -> None:
        for name in ("company", "business_unit", "team", "user", "email", "agent", "service", "type"):
            object.__setattr__(self, name, _attribute(name, getattr(self, name)))
        object.__setattr__(self, "clearance", _attribute("clearance", self.clearance) or CLEARANCE_DEFAULT)
        object.__setattr__(self, "roles", _attributes("roles", self.roles, items_max=limits.ROLES_MAX))
        object.__setattr__(self, "groups", _attributes("groups", self.groups, items_max=limits.GROUPS_MAX))
        principal = self.principal or self.user or self.email or self.service or self.agent or ""
        object.__setattr__(self, "principal", principal)
        object.__setattr__(self, "bucket_prefix", bucket_prefix(principal))
        object.__setattr__(self, "policy_ids", tuple(_subject_ids(self)))

    @property
    def lacks_company(self) -> bool:
        """Return whether a company's policies would pass this subject by although it is judged as a user."""
        return self.company is None and self.type != SERVICE_TYPE

    def lacks(self, layers: frozenset[str]) -> str:
        """Return the first of some layers for which this subject has no attribute, or an empty text."""
        return next((name for name in REQUIRABLE if name in layers and not getattr(self, REQUIRABLE[name])), "")

    def attribute(self, name: str) -> str | tuple[str, ...] | None:
        """Return one of ATTRIBUTES, None where the subject has no such attribute. An empty list is none (ADR 0012)."""
        if name == "user_id":
            return self.user or self.principal or None
        value: str | tuple[str, ...] | None = getattr(self, name)
        return value or None


# What the setting `required_layers` may name, with the attribute that it asks for.
REQUIRABLE = {"company": "company", "bu": "business_unit", "team": "team", "user": "user", "roles": "roles"}

# What a condition may ask of a subject.
ATTRIBUTES = frozenset(
    {"user", "company", "business_unit", "team", "roles", "groups", "email", "clearance", "agent", "service", "type"}
    | {"user_id"}
)


def placement(policy_id: str) -> Placement:
    """Return where a policy with this id stands, should it be found."""
    for prefix, layer, grants in _PREFIXES:
        if policy_id.startswith(prefix):
            role = policy_id[len(prefix) :] if layer is Layer.ROLE else None
            return Placement(layer=layer, grants=grants, role=role)
    return Placement(layer=Layer.RESOURCE, grants=True)


_PREFIXES = (
    ("org:", Layer.ORGANISATION, False),
    ("role:", Layer.ROLE, True),
    ("base:role:", Layer.ROLE, True),
    ("company:", Layer.COMPANY, True),
    ("restrict:org:", Layer.COMPANY, False),
    ("bu:", Layer.BUSINESS_UNIT, True),
    ("restrict:bu:", Layer.BUSINESS_UNIT, False),
    ("team:", Layer.TEAM, True),
    ("restrict:team:", Layer.TEAM, False),
    ("user:", Layer.USER, True),
    ("agent:", Layer.PROGRAM, True),
    ("service:", Layer.PROGRAM, True),
    ("filter:", Layer.CLEARANCE, False),
)


def resource_ids(resource: str) -> tuple[str, ...]:
    """Return the ids of layer 9 for a resource as the caller names it.

    Raises:
        ResourceInvalidError: as `patterns.resource_name`.
    """
    return _remembered_ids(resource) if len(resource) <= limits.CACHED_NAME_CHARS_MAX else _resource_ids(resource)


def _resource_ids(resource: str) -> tuple[str, ...]:
    resolved = resource_name(resource)
    return tuple(_ids_of(resolved.text, resolved.tenant))


def spelt_ids(name: ResourceName) -> tuple[str, ...]:
    """Return the ids of layer 9 in all spellings that restrictions try, folded."""
    # A foreign tenant's resource has no policy of ours without the tenant.
    spellings = (one for one in name.spellings if one.startswith(name.tenant))
    return tuple(dict.fromkeys(found for one in spellings for found in _ids_of(one, name.tenant)))


def _ids_of(name: str, tenant: str) -> Iterator[str]:
    domain, _, rest = name[len(tenant) :].partition(":")
    application, slash, _ = rest.partition("/")
    if application and slash and not tenant:  # an application of ours has no say over a foreign tenant's namesake
        yield f"app:{application}"
    prefix = "res:" if not tenant and domain in _LAYER_DOMAINS else ""
    yield from (prefix + name[:end] for end, character in enumerate(name) if character == "/")
    yield prefix + name


_remembered_ids = lru_cache(maxsize=limits.CACHED_NAMES_MAX)(_resource_ids)


def slug(value: str) -> str:
    """Return a value as it stands in the ids of restrictions: `FinTech Corp` gives `fintech-corp`."""
    return _remembered_slug(value) if len(value) <= limits.CACHED_NAME_CHARS_MAX else _slug(value)


def _slug(value: str) -> str:
    return str(_NOT_IN_SLUG.sub("-", casefold(nfkc(value)))).strip("-")


_remembered_slug = lru_cache(maxsize=limits.CACHED_NAMES_MAX)(_slug)


def _subject_ids(subject: Subject) -> list[str]:
    ids = [policy_id for role in subject.roles for policy_id in (f"role:{role}", f"base:role:{role}")]
    for value, grant, restriction in (
        (subject.company, "company", "restrict:org"),
        (subject.business_unit, "bu", "restrict:bu"),
        (subject.team, "team", "restrict:team"),
    ):
        if value is not None:
            ids += [f"{grant}:{value}", f"{restriction}:{slug(value)}"]
    users = dict.fromkeys(value for value in (subject.user, subject.email) if value is not None)
    ids += [f"user:{value}" for value in users]
    if subject.agent is not None:
        ids.append(f"agent:{subject.agent}")
    if subject.service is not None:
        ids.append(f"service:{subject.service}")
    return [*ids, f"filter:clearance:{slug(subject.clearance)}"]


def _attribute(name: str, value: object) -> str | None:
    if value is None:
        return None
    # An attribute becomes part of an id that is looked up; it must never read as a pattern, nor hide a character.
    if not isinstance(value, str) or "*" in value or has_hidden(value):
        raise AttributeInvalidError(f"attribute {name} is invalid")
    return nfc(value) or None


def _attributes(name: str, values: object, *, items_max: int) -> tuple[str, ...]:
    if not isinstance(values, (tuple, list)) or len(values) > items_max:
        raise AttributeInvalidError(f"attribute {name} is invalid")
    return tuple(dict.fromkeys(text for value in values if (text := _attribute(name, value)) is not None))
