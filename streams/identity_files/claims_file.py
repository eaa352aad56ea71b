"""`.claims-config.yaml`: the mapping of claims that an installation keeps, in both published forms.

    providers:                              the simple form: the claims of each provider, and their attributes
      keycloak: {organization: company, email: user}

    identity_providers:                     the extended form
      acme:
        detection: {iss_pattern: "https://*.acme.example", required_claims: [dept]}
        mappings: {name_path: preferred_username, roles_path: realm_access.roles}
        role_filter: {allowed: [analyst], case_sensitive: false}
        rules: []                           and ours: see `claims_rules.py`

Every fault is an error with the file and the line: a mapping with a misspelt member would map less than its author
believes. The page for users is docs/claims.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from processors.identity.claims.built_in import BUILT_IN
from processors.identity.claims.detection import IssuerPattern, ProviderDetection
from processors.identity.claims.model import (
    SUBJECT,
    WITHOUT_ATTRIBUTE,
    ClaimRule,
    ClaimsMapping,
    LoginDemands,
    ProviderMapping,
    RoleFilter,
)
from producers.home.files import FileError, read_file
from producers.home.strict_yaml import Lined, StrictYAMLError, parse_lines
from schemas.errors import InputError
from streams.identity_files.claims_rules import attribute_of, path_of, paths_of, rules_of
from streams.identity_files.lined import (
    LinedError,
    at_line,
    cut,
    did_you_mean,
    elements,
    flag,
    members,
    named,
    table,
    text,
    texts,
    whole_number,
)

FILE_NAME = ".claims-config.yaml"
FILE_BYTES_MAX = 128 * 1024  # YAML is read at some 200 KiB a second

DEFAULT = "default"
# The members of `mappings`, and the attribute of each.
PATHS = {
    "subject_path": SUBJECT,
    "email_path": "email",
    "name_path": "user",
    "organization_path": "company",
    "business_unit_path": "business_unit",
    "team_path": "team",
    "roles_path": "roles",
    "groups_path": "groups",
    "clearance_path": "clearance",
    **{f"{name}_path": name for name in WITHOUT_ATTRIBUTE},
}
_PATHS_MEANT = {
    "user_path": "name_path",
    "username_path": "name_path",
    "company_path": "organization_path",
    "org_path": "organization_path",
    "department_path": "business_unit_path",
    "role_path": "roles_path",
    "sub_path": "subject_path",
}
_TOP = ("providers", "identity_providers", DEFAULT, "security", "audit", "internal_model", "built_in")
_PROVIDER = ("name", "type", "detection", "mappings", "role_filter", "rules")
_ROLE_FILTER: Mapping[str, str] = {"allowed": "", "forbidden": "", "case_sensitive": "", "role_mapping": ""}


class ClaimsFileError(InputError):
    """A file with a mapping of claims is missing or malformed; the message has the file, the line and the next step."""


def read_claims_file(path: Path) -> ClaimsMapping:
    """Return the mapping in a file. Raises ClaimsFileError."""
    try:
        return parse_claims(read_file(path, FILE_BYTES_MAX))
    except FileError as exc:
        raise ClaimsFileError(str(exc)) from exc
    except StrictYAMLError as exc:
        raise ClaimsFileError(f"{path} {exc}") from None
    except LinedError as exc:
        raise ClaimsFileError(f"{path}, {exc}") from None


def parse_claims(content: bytes) -> ClaimsMapping:
    """Return the mapping in the text of a file. Raises StrictYAMLError, LinedError."""
    whole = parse_lines(content)
    found = members(whole, "the file", _TOP)
    _check_ignored(found)
    providers = (*_simple(found), *_extended(found), *_built_in(found))
    default = _provider(DEFAULT, found[DEFAULT], is_default=True) if DEFAULT in found else None
    if not providers and default is None:
        raise LinedError(whole.line, "the file names no provider: write `providers` or `identity_providers`")
    demands = _demands(found["security"]) if "security" in found else LoginDemands()
    _check_apart(providers)
    with at_line(max((one.line for one in providers), default=whole.line)):
        return ClaimsMapping(providers=providers, default=default, demands=demands)


def _check_apart(providers: tuple[ProviderMapping, ...]) -> None:
    """Raise LinedError, with the line of the second, where two providers exclude each other."""
    for at, one in enumerate(providers):
        with at_line(one.line):
            ClaimsMapping(providers=providers[: at + 1])


def _simple(found: Mapping[str, Lined]) -> Iterator[ProviderMapping]:
    if "providers" not in found:
        return
    for provider_id, part in named(found["providers"], "`providers`").items():
        rules = []
        for claim, attribute in named(part, f"`{cut(provider_id)}`").items():
            with at_line(attribute.line):
                path = path_of(Lined(claim, attribute.line), "a claim")
                name = attribute_of(attribute, f"the attribute of `{cut(claim)}`")
                rules.append(ClaimRule(attribute=name, claims=(path,), line=attribute.line))
        with at_line(part.line):
            yield ProviderMapping(
                id=provider_id, detection=_detected_by(provider_id), rules=tuple(rules), line=part.line
            )


def _extended(found: Mapping[str, Lined]) -> Iterator[ProviderMapping]:
    if "identity_providers" in found:
        for provider_id, part in named(found["identity_providers"], "`identity_providers`").items():
            yield _provider(provider_id, part)


def _built_in(found: Mapping[str, Lined]) -> Iterator[ProviderMapping]:
    known = {one.id: one for one in BUILT_IN.providers}
    for part in elements(found["built_in"], "`built_in`") if "built_in" in found else ():
        name = text(part, "an element of `built_in`")
        if name not in known:
            raise LinedError(part.line, f"no provider `{cut(name)}` is built in{did_you_mean(name, known)}")
        one = known[name]
        yield ProviderMapping(
            id=one.id,
            name=one.name,
            detection=one.detection,
            rules=one.rules,
            role_filter=one.role_filter,
            is_built_in=True,
            line=part.line,
        )


def _provider(provider_id: str, part: Lined, *, is_default: bool = False) -> ProviderMapping:
    what = f"`{cut(provider_id)}`"
    found = members(part, what, [one for one in _PROVIDER if not (is_default and one == "detection")])
    rules = [
        *(rules_of(found["rules"]) if "rules" in found else ()),
        *(_mappings(found["mappings"]) if "mappings" in found else ()),
    ]
    if "type" in found:
        text(found["type"], "`type`")
    name = text(found["name"], "`name`") if "name" in found else ""
    detection = _detection(found["detection"]) if "detection" in found else _detected_by(provider_id)
    role_filter = _role_filter(found["role_filter"]) if "role_filter" in found else RoleFilter()
    with at_line(part.line):
        return ProviderMapping(
            id=provider_id,
            name=name,
            detection=ProviderDetection() if is_default else detection,
            rules=tuple(rules),
            role_filter=role_filter,
            line=part.line,
        )


def _detected_by(provider_id: str) -> ProviderDetection:
    """Return the detection of a provider that has none of its own: a known name's, else the name as the issuer."""
    known = BUILT_IN.provider(provider_id)
    if known is not None:
        return ProviderDetection(issuers=known.detection.issuers, patterns=known.detection.patterns)
    return ProviderDetection(issuers=(provider_id,))


def _mappings(part: Lined) -> Iterator[ClaimRule]:
    for name, one in named(part, "`mappings`").items():
        if name not in PATHS:
            raise LinedError(
                one.line, f"`mappings` has no member `{cut(name)}`{did_you_mean(name, PATHS, _PATHS_MEANT)}"
            )
        with at_line(one.line):
            yield ClaimRule(attribute=PATHS[name], claims=paths_of(one, f"`{name}`"), line=one.line)


def _detection(part: Lined) -> ProviderDetection:
    found = members(part, "`detection`", ("iss", "iss_pattern", "required_claims"))
    issuers = _one_or_more(found["iss"], "`iss`") if "iss" in found else []
    patterns = []
    for one in _one_or_more(found["iss_pattern"], "`iss_pattern`") if "iss_pattern" in found else []:
        with at_line(one.line):
            patterns.append(IssuerPattern(text(one, "`iss_pattern`")))
    required = elements(found["required_claims"], "`required_claims`") if "required_claims" in found else []
    with at_line(part.line):
        return ProviderDetection(
            issuers=tuple(text(one, "`iss`") for one in issuers),
            patterns=tuple(patterns),
            required_claims=tuple(path_of(one, "an element of `required_claims`") for one in required),
        )


def _one_or_more(part: Lined, what: str) -> list[Lined]:
    return elements(part, what) if isinstance(part.value, list) else [part]


def _role_filter(part: Lined) -> RoleFilter:
    found = members(part, "`role_filter`", _ROLE_FILTER)
    with at_line(found["role_mapping"].line if "role_mapping" in found else part.line):
        return RoleFilter(
            allowed=texts(found["allowed"], "`allowed`") if "allowed" in found else None,
            forbidden=texts(found["forbidden"], "`forbidden`") if "forbidden" in found else (),
            is_case_sensitive=flag(found["case_sensitive"], "`case_sensitive`") if "case_sensitive" in found else True,
            names=table(found["role_mapping"], "`role_mapping`") if "role_mapping" in found else {},
        )


def _demands(part: Lined) -> LoginDemands:
    found = members(part, "`security`", ("require_roles", "require_organization", "max_token_age_minutes"))
    age = found.get("max_token_age_minutes")
    with at_line(age.line if age else part.line):
        return LoginDemands(
            needs_roles="require_roles" in found and flag(found["require_roles"], "`require_roles`"),
            needs_company="require_organization" in found
            and flag(found["require_organization"], "`require_organization`"),
            token_age_minutes_max=whole_number(age, "`max_token_age_minutes`") if age else None,
        )


def _check_ignored(found: Mapping[str, Lined]) -> None:
    """Check the parts that change nothing: words about attributes, and switches of a log that always tells all."""
    if "internal_model" in found:
        table(found["internal_model"], "`internal_model`")
    if "audit" in found:
        switches = ("log_identity_mapping", "log_role_filtering", "log_provider_detection")
        for name, one in members(found["audit"], "`audit`", switches).items():
            flag(one, f"`{name}`")
