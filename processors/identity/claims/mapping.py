"""Claims to attributes: the rules of one provider on the claims of one token, with a report of every rule.

`map_token` is for verified tokens: it takes the issuer that the tenant trusts. Nothing here raises, whatever the claims
are, and its work is bounded. A claim that is missing gives nothing; a claim that is there and cannot be used refuses
the login, because an attribute may also restrict. A refused login has no attributes at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from processors.identity.attributes import subject_of
from processors.identity.claims import bounds
from processors.identity.claims.built_in import BUILT_IN
from processors.identity.claims.detection import issuer_of
from processors.identity.claims.errors import MappingCode, MappingRefusal
from processors.identity.claims.model import (
    ATTRIBUTES,
    LIST_ATTRIBUTES,
    SUBJECT,
    ClaimRule,
    ClaimsMapping,
    LoginDemands,
    ProviderMapping,
)
from processors.identity.claims.rules import Given, RuleResult, TracedRule, apply_rule
from processors.policy import limits as policy_limits
from processors.policy.names import PERSON_PREFIX
from processors.refusal import Refusal
from processors.text.characters import has_outer_blanks, is_plain_text
from schemas.events.attributes import NONE, Attributes
from schemas.words import Role

_LISTED_MAX = {"roles": policy_limits.ROLES_MAX, "groups": policy_limits.GROUPS_MAX}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """The result of a mapping. Without refusals a session can be opened for `name` with `attributes`.

    `name` is the person's name at the provider, without the prefix and the namespace that the trust gives it, and
    `attributes.user` is the same. `subject` is the id that the provider never gives to another person. `unread` are
    names of claims that no rule reads.
    """

    provider: str | None = None
    chosen_by: str = ""
    attributes: Attributes = field(default=NONE, repr=False)
    name: str | None = field(default=None, repr=False)
    subject: str | None = field(default=None, repr=False)
    trace: tuple[TracedRule, ...] = ()
    unread: tuple[str, ...] = field(default=(), repr=False)
    refusals: tuple[MappingRefusal, ...] = ()

    @property
    def can_open(self) -> bool:
        """True if a session can be opened from it."""
        return not self.refusals


def map_token(mapping: ClaimsMapping, claims: object, *, issuer: str, provider: str | None = None) -> Mapped:
    """Return the attributes that a mapping gives for a verified token. Never raises.

    `issuer` is the issuer that the tenant trusts and that the token was verified for: a token that names another one is
    refused, so that no pattern is held against an issuer of a stranger. `provider` names the provider instead of
    letting the issuer choose it.
    """
    if isinstance(claims, Mapping) and claims.get("iss") != issuer:
        return _refused(MappingCode.ISSUER_MISMATCH)
    return map_unverified(mapping, claims, provider=provider)


def map_unverified(mapping: ClaimsMapping, claims: object, *, provider: str | None = None) -> Mapped:
    """Return the attributes that a mapping would give for unverified claims: to try it out. Never raises."""
    if not isinstance(claims, Mapping):
        return _refused(MappingCode.CLAIMS_INVALID)
    chosen, chosen_by = _choose(mapping, claims, provider)
    if chosen is None:
        return _refused(MappingCode.PROVIDER_UNKNOWN, chosen_by)
    return map_claims(claims, chosen, mapping.demands, chosen_by=chosen_by)


def _refused(code: MappingCode, detail: str = "") -> Mapped:
    return Mapped(chosen_by=detail, refusals=(MappingRefusal(code, detail),))


def _choose(
    mapping: ClaimsMapping, claims: Mapping[str, object], named: str | None
) -> tuple[ProviderMapping | None, str]:
    """Return the provider for a token, and how it was chosen or why not. No value of a claim is told."""
    if named is not None:
        found = mapping.provider(named)
        return found, "its name was given" if found else "the mapping has no provider of the given name"
    issuer = issuer_of(claims)
    lacking = ""
    if issuer is not None:
        exact = [one for one in mapping.providers if one.detection.is_of(issuer)]
        for one in dict.fromkeys([*exact, *mapping.providers]):
            if not one.detection.fits(issuer):
                continue
            missing = one.detection.lacking(claims)
            if missing is None:
                return one, "its issuer is named" if one in exact else "a pattern fits its issuer"
            lacking = lacking or f"the issuer is that of `{one.id}`, but the token has no `{missing.text}`"
    told = lacking or ("no provider has this issuer" if issuer else "the token names no usable issuer")
    return mapping.default, f"{told}: the default" if mapping.default else told


def map_claims(
    claims: Mapping[str, object],
    provider: ProviderMapping,
    demands: LoginDemands = BUILT_IN.demands,
    *,
    chosen_by: str = "its name was given",
) -> Mapped:
    """Return the attributes that the rules of one provider give for claims. Never raises."""
    given: Given = {}
    trace = tuple(apply_rule(rule, claims, provider.role_filter, given) for rule in provider.rules)
    refusals = [
        MappingRefusal(MappingCode.CLAIM_INVALID, f"`{one.claim}`, which {one.attribute} is mapped from: {one.detail}")
        for one in trace
        if one.result is RuleResult.UNUSABLE
    ]
    attributes = _attributes(given)
    name = attributes.user
    refusals += _name_refusals(name)
    if demands.needs_roles and not attributes.roles:
        refusals.append(MappingRefusal(MappingCode.ROLES_MISSING))
    if demands.needs_company and attributes.company is None:
        refusals.append(MappingRefusal(MappingCode.COMPANY_MISSING))
    refusals += _bound_refusals(attributes)
    return Mapped(
        provider=provider.id,
        chosen_by=chosen_by,
        attributes=NONE if refusals else attributes,
        name=None if refusals else name,
        subject=None if refusals else next(iter(given.get(SUBJECT, ())), None),
        trace=trace,
        unread=_unread(claims, provider.rules),
        refusals=tuple(refusals),
    )


def age_refusal(claims: Mapping[str, object], demands: LoginDemands, now_seconds: float) -> MappingRefusal | None:
    """Return the refusal of a token that is older than the mapping demands, None for another one.

    `now_seconds` is the time of the login since 1970. A token that does not tell when it was issued is too old.
    """
    minutes = demands.token_age_minutes_max
    if minutes is None:
        return None
    issued = claims.get("iat")
    if not isinstance(issued, int | float) or isinstance(issued, bool) or not now_seconds - issued <= minutes * 60:
        return MappingRefusal(MappingCode.TOKEN_TOO_OLD)
    return None


def _attributes(given: Mapping[str, tuple[str, ...]]) -> Attributes:
    found: dict[str, object] = {
        name: given[name] if name in LIST_ATTRIBUTES else given[name][0] for name in ATTRIBUTES if given.get(name)
    }
    return Attributes(**found)  # type: ignore[arg-type] # texts and lists by the names of the record


def _name_refusals(name: str | None) -> list[MappingRefusal]:
    if name is None:
        return [MappingRefusal(MappingCode.NAME_MISSING)]
    if len(name) > bounds.PERSON_CHARS_MAX or not is_plain_text(name) or has_outer_blanks(name):
        return [MappingRefusal(MappingCode.NAME_INVALID)]
    return []


def _bound_refusals(attributes: Attributes) -> list[MappingRefusal]:
    for name, count_max in _LISTED_MAX.items():
        if (count := len(getattr(attributes, name))) > count_max:
            return [MappingRefusal(MappingCode.ATTRIBUTES_INVALID, f"{count} {name}, allowed are {count_max}")]
    try:
        subject_of(attributes, Role.USER, f"{PERSON_PREFIX}{attributes.user}")
    except Refusal as exc:
        return [MappingRefusal(MappingCode.ATTRIBUTES_INVALID, exc.detail)]
    return []


def _unread(claims: Mapping[str, object], rules: Sequence[ClaimRule]) -> tuple[str, ...]:
    """Return the first names of claims that no rule reads, cut to a length that can be shown."""
    read = {"iss", "email_verified", *(path.steps[0] for rule in rules for path in rule.claims)}
    read |= {condition.claim.steps[0] for rule in rules for condition in rule.when}
    names: Iterable[object] = claims
    others = (name for name in names if isinstance(name, str) and name not in read)
    return tuple(name[: bounds.SHOWN_CHARS_MAX] for name in islice(others, bounds.UNREAD_MAX))
