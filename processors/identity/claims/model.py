"""A mapping of claims as values: providers, each with its rules, and the demands on every login.

Each class checks itself and raises ClaimsMappingError. `streams/identity_files` reads them from a file, and
`built_in.py` has those of known providers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from processors.identity.claims import bounds
from processors.identity.claims.conditions import ClaimCondition
from processors.identity.claims.detection import ProviderDetection
from processors.identity.claims.errors import ClaimsMappingError
from processors.identity.claims.paths import ClaimPath
from processors.identity.claims.transforms import ClaimTransform, check_options
from processors.text.characters import quoted
from processors.text.forms import casefold, fold, nfc
from schemas.events.attributes import LISTS, READ_BY_POLICIES

ATTRIBUTES = READ_BY_POLICIES
LIST_ATTRIBUTES = frozenset(LISTS) & frozenset(READ_BY_POLICIES)
SUBJECT = "subject"  # the stable id of a person at the provider: kept beside the attributes
# Members of published files for which there is no attribute. They load, and a report says that they map nothing.
WITHOUT_ATTRIBUTE = ("tier", "max_tokens", "allowed_models")
_TARGETS = frozenset({*ATTRIBUTES, SUBJECT, *WITHOUT_ATTRIBUTE})


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRule:
    """One rule: the first of `claims` that a token has gives the attribute, if all conditions hold.

    Of several rules for one text the first that gives a value counts; for a list all count. `line` is that of the file,
    0 for a built-in rule.
    """

    attribute: str
    claims: tuple[ClaimPath, ...]
    when: tuple[ClaimCondition, ...] = ()
    transforms: tuple[ClaimTransform, ...] = ()
    line: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        if self.attribute not in _TARGETS:
            raise ClaimsMappingError(
                f"no attribute is called {quoted(self.attribute)}; the attributes are {', '.join(ATTRIBUTES)}"
            )
        if not 0 < len(self.claims) <= bounds.CLAIMS_PER_RULE_MAX:
            raise ClaimsMappingError(
                f"a rule names {len(self.claims)} claims, allowed are 1 to {bounds.CLAIMS_PER_RULE_MAX}"
            )
        _check_count("conditions", self.when, bounds.CONDITIONS_MAX)
        _check_count("transforms", self.transforms, bounds.TRANSFORMS_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleFilter:
    """The roles that pass, and their names here.

    `allowed` None lets all pass. Without `is_case_sensitive` a role passes in any case, and gets the spelling of
    `allowed`. `forbidden` are compared folded, whatever `is_case_sensitive` says. `names` maps roles that passed.
    """

    allowed: tuple[str, ...] | None = None
    forbidden: tuple[str, ...] = ()
    is_case_sensitive: bool = True
    names: Mapping[str, str] = field(default_factory=dict, hash=False)
    _passing: Mapping[str, str] = field(init=False, repr=False, compare=False)
    _not_passing: frozenset[str] = field(init=False, repr=False, compare=False)
    _named: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for texts in (self.allowed or (), self.forbidden, self.names.keys(), self.names.values()):
            check_options("a role filter", texts)
        object.__setattr__(self, "_passing", {self._key(one): one for one in reversed(self.allowed or ())})
        object.__setattr__(self, "_not_passing", frozenset(map(fold, self.forbidden)))
        object.__setattr__(self, "_named", {self._key(one): name for one, name in self.names.items()})
        unreachable = next((one for one in self.names if self.passed(one) is None), None)
        if unreachable is not None:
            raise ClaimsMappingError(
                f"the role mapping names {quoted(unreachable)}, which the filter does not let pass: add it to `allowed`"
            )

    def passed(self, role: str) -> str | None:
        """Return the name of a role here, None if it does not pass. Requires a stream-safe text."""
        if self._not_passing and fold(role) in self._not_passing:
            return None
        known = role if self.allowed is None else self._passing.get(self._key(role))
        return None if known is None else self._named.get(self._key(known), known)

    def _key(self, role: str) -> str:
        """Return one form for all spellings of a role that are the same to this filter."""
        text = nfc(role)
        if self.is_case_sensitive:
            return text
        # The fold of a letter that is not ASCII may be ASCII, as that of U+017F: it is another letter here.
        folded = casefold(text)
        return folded if folded.isascii() is text.isascii() else text


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderMapping:
    """A provider: its id and name, the tokens it is chosen for, its rules, and the roles that pass."""

    id: str
    name: str = ""
    detection: ProviderDetection = field(default_factory=ProviderDetection)
    rules: tuple[ClaimRule, ...]
    role_filter: RoleFilter = field(default_factory=RoleFilter)
    is_built_in: bool = False
    line: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        if not 0 < len(self.id) <= bounds.ID_CHARS_MAX:
            raise ClaimsMappingError(f"a provider's name has 1 to {bounds.ID_CHARS_MAX} characters")
        if not 0 < len(self.rules) <= bounds.RULES_MAX:
            raise ClaimsMappingError(
                f"the provider {quoted(self.id)} has {len(self.rules)} rules, allowed are 1 to {bounds.RULES_MAX}"
            )
        if (size := sum(map(_regex_units, self.rules))) > bounds.REGEX_PROGRAMS_MAX:
            raise ClaimsMappingError(
                f"the regular expressions of {quoted(self.id)} have {size} instructions, allowed are "
                f"{bounds.REGEX_PROGRAMS_MAX}: write fewer, or smaller counts"
            )
        if not any(rule.attribute in ATTRIBUTES for rule in self.rules):
            raise ClaimsMappingError(f"the provider {quoted(self.id)} maps no claim to an attribute")


def _regex_units(rule: ClaimRule) -> int:
    regexes = [*(one.regex for one in rule.when), *(one.regex for one in rule.transforms)]
    return sum(one.units for one in regexes if one is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginDemands:
    """The demands of a mapping on every login: roles, a company, and the age of the token."""

    needs_roles: bool = False
    needs_company: bool = False
    token_age_minutes_max: int | None = None

    def __post_init__(self) -> None:
        age = self.token_age_minutes_max
        if age is not None and not 0 < age <= bounds.TOKEN_AGE_MINUTES_MAX:
            raise ClaimsMappingError(
                f"`max_token_age_minutes` is {age}, allowed are 1 to {bounds.TOKEN_AGE_MINUTES_MAX}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimsMapping:
    """All that a file says: providers in order, the mapping for others if there is one, and the demands on logins."""

    providers: tuple[ProviderMapping, ...]
    default: ProviderMapping | None = None
    demands: LoginDemands = field(default_factory=LoginDemands)

    def __post_init__(self) -> None:
        _check_count("providers", self.providers, bounds.PROVIDERS_MAX)
        ids: dict[str, ProviderMapping] = {}
        issuers: dict[str, ProviderMapping] = {}
        for one in self.providers:
            if (other := ids.setdefault(fold(one.id), one)) is not one:
                raise ClaimsMappingError(
                    f"two providers are called {quoted(other.id)} and {quoted(one.id)}, which is one name: keep one"
                )
            for issuer in dict.fromkeys(one.detection.issuers):
                if (other := issuers.setdefault(issuer, one)) is not one:
                    raise ClaimsMappingError(
                        f"the providers {quoted(other.id)} and {quoted(one.id)} have one issuer: keep it at one of them"
                    )

    def provider(self, provider_id: str) -> ProviderMapping | None:
        """Return the provider of a name, None if there is none."""
        return next((one for one in self.providers if one.id == provider_id), None)


def _check_count(what: str, things: Collection[object], count_max: int) -> None:
    if len(things) > count_max:
        raise ClaimsMappingError(f"there are {len(things)} {what}, allowed are {count_max}")
