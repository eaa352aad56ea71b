"""`.claims-config.yaml`: every fault is told with its file, its line and the next step."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.identity_files.claims_file import (
    FILE_BYTES_MAX,
    FILE_NAME,
    ClaimsFileError,
    parse_claims,
    read_claims_file,
)
from streams.identity_files.lined import LinedError

PROVIDERS = "providers:\n  keycloak: {team: team}\n"


def provider_with(lines: str) -> str:
    """Return a file whose third line is the first of a provider's members."""
    return "identity_providers:\n  acme:\n" + "".join(f"    {line}\n" for line in lines.splitlines())


def rule_with(lines: str) -> str:
    """Return a file with one rule, whose members begin on line 4."""
    return provider_with("rules:\n  - attribute: team\n" + "".join(f"    {line}\n" for line in lines.splitlines()))


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        # not YAML of this kind
        ("providers: [", 1, "is not YAML"),
        ("providers:\n  a: {x: team}\n\tb: {}", 3, "is not YAML"),
        ("providers:\n  okta: {x: team}\n  google: {y: team}\n  okta: {z: user}", 4, "names something twice"),
        ("providers:\n  okta:\n    x: team\n    x: user", 4, "names something twice"),
        ("providers: {a: {x: team}}\nproviders: {}", 2, "names something twice"),
        ("providers:\n  no: {x: team}", 2, "a name that is not a text: put it into quotes"),
        ("providers:\n  a: {<<: {x: team}}", 2, "takes over other members"),
        ("x: &x {a: team}\nproviders:\n  a: *x", 3, "repeats another place with `*`: write it out"),
        ("a: !!python/name:os.system x", 1, "is not YAML"),
        ("[" * 5000, None, "is not YAML"),
        ("\ufeff\x00", None, "is not YAML"),
        # the file as a whole
        ("", 1, "the file must be a mapping"),
        ("[]", 1, "the file must be a mapping"),
        ("{}", 1, "names no provider: write `providers` or `identity_providers`"),
        ("audit: {}\nprovider: {}", 2, "no member `provider`: did you mean `providers`?"),
        ("audit: {}\nxyz: {}", 2, "no member `xyz`; allowed are `providers`, `identity_providers`"),
        ("providers: []", 1, "`providers` must be a mapping"),
        ("providers:\n  okta:", 2, "`okta` must be a mapping"),
        ("providers:\n  okta: {}", 2, "'okta' has 0 rules, allowed are 1 to 64"),
        ("providers:\n  okta: {sub: subject}", 2, "maps no claim to an attribute"),
        ("providers:\n  okta: {a: team}\n  Okta: {b: team}", 3, "'okta' and 'Okta', which is one name: keep one"),
        ("providers: {okta: {a: team}}\nidentity_providers:\n  okta: {mappings: {team_path: b}}", 3, "is one name"),
        ("providers: {okta: {a: team}}\nbuilt_in:\n  - google\n  - okta", 4, "is one name: keep one"),
        ("built_in:\n  - octa", 2, "no provider `octa` is built in: did you mean `okta`?"),
        ("built_in: google", 1, "`built_in` must be a list"),
        ("\n".join(["providers:", *(f"  p{n}: {{a: team}}" for n in range(65))]), 66, "65 providers, allowed are 64"),
        ("providers:\n  a:\n" + "\n".join(f"    c{n}: team" for n in range(65)), 2, "65 rules, allowed are 1 to 64"),
        # the simple form
        ("providers:\n  a:\n    x: compny", 3, "no attribute is called `compny`: did you mean `company`?"),
        ("providers:\n  a:\n    x: organisation", 3, "no attribute is called `organisation`: did you mean `company`?"),
        ("providers:\n  a:\n    x: Department", 3, "did you mean `business_unit`?"),
        ("providers:\n  a:\n    x: issuers", 3, "no attribute is called `issuers`"),
        ("providers:\n  a:\n    x: tier", 3, "no attribute is called `tier`"),
        ("providers:\n  a:\n    x: 5", 3, "must be a text: put it into quotes"),
        ('providers:\n  a:\n    "team ": team', 3, "the path 'team ' begins or ends with a blank: remove it"),
        ("providers:\n  a:\n    a..b: team", 3, "cannot be read at character 2"),
        ("providers:\n  a:\n    x: [team]", 3, "must be a text"),
        # the extended form
        (provider_with("mapping: {}"), 3, "no member `mapping`: did you mean `mappings`?"),
        (provider_with("name: 5\nmappings: {team_path: t}"), 3, "`name` must be a text"),
        (provider_with("type: []\nmappings: {team_path: t}"), 3, "`type` must be a text"),
        (provider_with("mappings:\n  organisation_path: org"), 4, "did you mean `organization_path`?"),
        (provider_with("mappings:\n  user_path: sub"), 4, "did you mean `name_path`?"),
        (provider_with("mappings:\n  rolespath: r"), 4, "did you mean `roles_path`?"),
        (provider_with('mappings:\n  team_path: t\n  roles_path: "realm_access.roles "'), 5, "ends with a blank"),
        (provider_with("mappings:\n  team_path: []"), 4, "names 0 claims"),
        (provider_with("mappings:\n  team_path: {a: b}"), 4, "`team_path` must be a text"),
        (provider_with("mappings: {}"), 2, "has 0 rules"),
        (provider_with("detection:\n  iss_patern: x\nmappings: {team_path: t}"), 4, "did you mean `iss_pattern`?"),
        (provider_with("detection:\n  iss_pattern: '*'\nmappings: {team_path: t}"), 4, "would fit every issuer"),
        (provider_with("detection:\n  iss_pattern: 5\nmappings: {team_path: t}"), 4, "`iss_pattern` must be a text"),
        (provider_with("detection:\n  required_claims: oid\nmappings: {team_path: t}"), 4, "must be a list"),
        (provider_with("detection:\n  required_claims:\n    - 'oid '\nmappings: {team_path: t}"), 5, "a blank"),
        (provider_with("role_filter:\n  alowed: []\nmappings: {team_path: t}"), 4, "did you mean `allowed`?"),
        (provider_with("role_filter:\n  allowed: x\nmappings: {team_path: t}"), 4, "`allowed` must be a list"),
        (provider_with("role_filter:\n  allowed: [1]\nmappings: {team_path: t}"), 4, "must be a text"),
        (provider_with("role_filter:\n  case_sensitive: 'no'\nmappings: {team_path: t}"), 4, "must be `true`"),
        (
            provider_with("role_filter:\n  allowed: [a]\n  role_mapping: {as: a}\nmappings: {team_path: t}"),
            5,
            "the role mapping names 'as', which the filter does not let pass",
        ),
        ("default:\n  detection: {}\n  mappings: {team_path: t}", 2, "`default` has no member `detection`"),
        (f"{PROVIDERS}security:\n  require_role: true", 4, "did you mean `require_roles`?"),
        (f"{PROVIDERS}security:\n  require_roles: 1", 4, "must be `true` or `false`"),
        (f"{PROVIDERS}security:\n  max_token_age_minutes: 0", 4, "is 0, allowed are 1 to 1440"),
        (f"{PROVIDERS}security:\n  max_token_age_minutes: 1.5", 4, "must be a whole number"),
        (f"{PROVIDERS}audit:\n  log_all: true", 4, "no member `log_all`"),
        (f"{PROVIDERS}audit:\n  log_role_filtering: 1", 4, "must be `true` or `false`"),
        (f"{PROVIDERS}internal_model:\n  company: 1", 4, "must be a text"),
        # our rules
        (provider_with("rules: {}"), 3, "`rules` must be a list"),
        (provider_with("rules:\n  - lower"), 4, "a rule must be a mapping"),
        (provider_with("rules:\n  - {claim: x}"), 4, "a rule needs `attribute`, and either `claim` or `claims`"),
        (rule_with("claim: x\nclaims: [y]"), 4, "either `claim` or `claims`"),
        (provider_with("rules:\n  - attribute: tema\n    claim: x"), 4, "did you mean `team`?"),
        (rule_with("claim: x\nwen: {}"), 6, "no member `wen`: did you mean `when`?"),
        (rule_with("claim: 'x '"), 5, "ends with a blank"),
        (rule_with("claims:\n  - a\n  - 'b c'"), 7, "cannot be read at character 2"),
        (rule_with("claim: x\nwhen: {claim: y}"), 6, "needs `claim` and one of `equals`, `not_equals`"),
        (rule_with("claim: x\nwhen: {claim: y, equal: z}"), 6, "did you mean `equals`?"),
        (rule_with("claim: x\nwhen: {claim: y, equals: 1.5}"), 6, "must be a text, a whole number"),
        (rule_with("claim: x\nwhen: {claim: y, equals: []}"), 6, "must name at least one value"),
        (rule_with("claim: x\nwhen:\n  - {claim: y, equals: z}\n  - {claim: y, matches: '('}"), 8, "is not a regular"),
        (rule_with("claim: x\nwhen: {claim: y, present: 1}"), 6, "must be `true` or `false`"),
        (rule_with("claim: x\ntransforms: lower"), 6, "`transforms` must be a list"),
        (rule_with("claim: x\ntransforms: [lowr]"), 6, "no transform is called `lowr`: did you mean `lower`?"),
        (rule_with("claim: x\ntransforms: [prefix]"), 6, "the transform `prefix` needs an option"),
        (rule_with("claim: x\ntransforms: [{lower: x}]"), 6, "the transform `lower` has no option: write `lower`"),
        (rule_with("claim: x\ntransforms: [{prefix: a, split: b}]"), 6, "a transform is one name"),
        (rule_with("claim: x\ntransforms:\n  - trim\n  - {regex: '(?=a)'}"), 8, "RE2 has neither look-around"),
        (rule_with("claim: x\ntransforms:\n  - {regex: {pattern: a, group: 1}}"), 7, "not the group 1"),
        (rule_with("claim: x\ntransforms:\n  - {regex: {group: 1}}"), 7, "`regex` needs `pattern`"),
        (rule_with("claim: x\ntransforms:\n  - {map: [a]}"), 7, "`map` must be a mapping"),
        (rule_with("claim: x\ntransforms:\n  - {split: ''}"), 7, "has 0 characters, allowed are 1 to 256"),
        (rule_with("claim: x\ntransforms: [" + "trim, " * 9 + "]"), 4, "9 transforms, allowed are 8"),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_its_line(tmp_path: Path, text: str, line: int | None, says: str) -> None:
    path = tmp_path / FILE_NAME
    path.write_text(text, "utf-8")
    with pytest.raises(ClaimsFileError) as raised:
        read_claims_file(path)

    assert says in str(raised.value)
    assert str(raised.value).startswith(str(path))
    if line is not None:
        assert f"line {line}:" in f"{raised.value}:"


def test_a_file_that_is_missing_or_too_large_is_told(tmp_path: Path) -> None:
    with pytest.raises(ClaimsFileError, match="No such file"):
        read_claims_file(tmp_path / FILE_NAME)
    (tmp_path / FILE_NAME).write_text("#" * (FILE_BYTES_MAX + 1))
    with pytest.raises(ClaimsFileError, match="larger than 131072 bytes"):
        read_claims_file(tmp_path / FILE_NAME)


def test_two_providers_with_one_issuer_are_refused() -> None:
    text = "identity_providers:\n" + "".join(
        f"  {name}:\n    detection: {{iss: https://sso.example}}\n    mappings: {{team_path: t}}\n" for name in "ab"
    )

    with pytest.raises(LinedError, match="line 5: the providers 'a' and 'b' have one issuer"):
        parse_claims(text.encode())
