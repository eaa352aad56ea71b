"""One rule of a provider on the claims of one token, and its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from processors.identity.claims import bounds
from processors.identity.claims.model import ATTRIBUTES, LIST_ATTRIBUTES, SUBJECT, ClaimRule, RoleFilter
from processors.identity.claims.paths import ClaimPath, look_up
from processors.text.characters import has_hidden
from processors.text.forms import is_stream_safe, nfc

USER = "user"
ROLES = "roles"
Given = dict[str, tuple[str, ...]]  # the texts of each attribute so far

_EMAIL = ("email",)
# Names that people give themselves, and that two people may share (OpenID Connect Core 5.1).
_SHOWN_NAMES = frozenset({("name",), ("nickname",), ("given_name",), ("family_name",)})


class RuleResult(StrEnum):
    """The end of one rule."""

    MAPPED = "mapped"
    MISSING = "missing"  # the token does not have the claim
    UNMET = "condition not met"
    EMPTY = "nothing left"  # no text is left after the transforms, or no role passed
    LATER = "not needed"  # an earlier rule gave the attribute
    UNVERIFIED = "not verified"  # an email address that the provider itself does not vouch for
    UNUSABLE = "unusable"  # the login is refused
    NO_ATTRIBUTE = "no attribute"  # there is no attribute for it here


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedRule:
    """The report of one rule: the claim that was read, and what it became or why not.

    `values` are the texts that the attribute got, `dropped` the roles that did not pass. `detail` holds no values.
    """

    attribute: str
    claim: str
    result: RuleResult
    values: tuple[str, ...] = field(default=(), repr=False)
    dropped: tuple[str, ...] = field(default=(), repr=False)
    detail: str = ""
    line: int = 0


def apply_rule(rule: ClaimRule, claims: Mapping[str, object], roles: RoleFilter, given: Given) -> TracedRule:
    """Return the report of a rule, and put its texts into `given`. Never raises."""
    told = _Told(rule)
    if (unread := _why_unread(rule, claims, given)) is not None:
        return told.end(*unread)
    try:
        texts = _read(rule, claims, told)
        made = _transformed(rule, texts)
    except _UnusableError as exc:
        return told.end(RuleResult.UNUSABLE, str(exc))
    if told.is_unverified:
        return told.end(RuleResult.UNVERIFIED, "`email_verified` is not true: the address may be another person's")
    if not made:
        return told.end(*((RuleResult.EMPTY, "no text is left") if texts else (RuleResult.MISSING, told.missing)))
    return _give(made, roles, given, told)


def _why_unread(rule: ClaimRule, claims: Mapping[str, object], given: Given) -> tuple[RuleResult, str] | None:
    """Return the end of a rule for which no claim is read, None for another rule."""
    if rule.attribute not in ATTRIBUTES and rule.attribute != SUBJECT:
        return RuleResult.NO_ATTRIBUTE, "policies read no such attribute; write the bound into a policy"
    if given.get(rule.attribute) and rule.attribute not in LIST_ATTRIBUTES:
        return RuleResult.LATER, "an earlier rule gave it"
    unmet = next((one for one in rule.when if not one.holds(claims)), None)
    if unmet is not None:
        return RuleResult.UNMET, f"`{unmet.claim.text}` does not meet `{unmet.comparison}`"
    return None


def _transformed(rule: ClaimRule, texts: Sequence[str]) -> list[str]:
    """Return the texts of a rule after its transforms, as attributes have them. Raises _UnusableError."""
    made = list(texts)
    for transform in rule.transforms:
        made = transform.apply(made)
        _check_amount(made)
    return [_value(text) for text in made] if rule.attribute in LIST_ATTRIBUTES else [*map(_value, made[:1]), *made[1:]]


def _give(made: Sequence[str], roles: RoleFilter, given: Given, told: _Told) -> TracedRule:
    """Put texts into `given`; return the report."""
    attribute = told.rule.attribute
    if attribute == ROLES:
        return _give_roles(made, roles, given, told)
    if attribute in LIST_ATTRIBUTES:
        given[attribute] = tuple(dict.fromkeys([*given.get(attribute, ()), *made]))
        return told.end(RuleResult.MAPPED, values=made)
    given[attribute] = (made[0],)
    detail = f"the first of {len(made)}" if len(made) > 1 else ""
    if attribute == USER and told.steps in _SHOWN_NAMES:
        detail = "its owner may change this name, and two people may share it: map `sub`, an email or a login name"
    return told.end(RuleResult.MAPPED, detail, values=made[:1])


def _give_roles(made: Sequence[str], roles: RoleFilter, given: Given, told: _Told) -> TracedRule:
    passed = {role: roles.passed(role) for role in made}
    dropped = [role for role, name in passed.items() if name is None]
    names = list(dict.fromkeys(nfc(name) for name in passed.values() if name is not None))
    detail = f"{len(dropped)} of {len(passed)} roles do not pass the filter" if dropped else ""
    if not names:
        return told.end(RuleResult.EMPTY, detail, dropped=dropped)
    given[ROLES] = tuple(dict.fromkeys([*given.get(ROLES, ()), *names]))
    return told.end(RuleResult.MAPPED, detail, values=names, dropped=dropped)


class _UnusableError(Exception):
    """Say why a claim that is there cannot be used; no value stands in the message."""


class _Told:
    """The report of a rule while it is applied: the claim that is read, and why the others were not."""

    def __init__(self, rule: ClaimRule) -> None:
        self.rule = rule
        self.claim = " or ".join(path.text for path in rule.claims)
        self.steps: tuple[str | int, ...] = ()
        self.missing = ""
        self.is_unverified = False

    def take(self, path: ClaimPath, claims: Mapping[str, object]) -> None:
        """Note the claim that is read."""
        self.claim, self.steps = path.text, path.steps
        is_email = path.steps == _EMAIL and "email_verified" in claims
        self.is_unverified = is_email and not (claims["email_verified"] is True or claims["email_verified"] == "true")

    def end(
        self, result: RuleResult, detail: str = "", *, values: Sequence[str] = (), dropped: Sequence[str] = ()
    ) -> TracedRule:
        return TracedRule(
            attribute=self.rule.attribute,
            claim=self.claim,
            result=result,
            values=tuple(values),
            dropped=tuple(dropped),
            detail=detail,
            line=self.rule.line,
        )


def _read(rule: ClaimRule, claims: Mapping[str, object], told: _Told) -> list[str]:
    """Return the texts of the first claim of a rule that a token has, none for none. Raises _UnusableError."""
    missing: list[str] = []
    for path in rule.claims:
        found = look_up(claims, path)
        if found.fault:
            told.take(path, claims)
            raise _UnusableError(found.fault)
        if not found.values:
            missing.append(found.missing)
            continue
        told.take(path, claims)
        texts = [_text(value, is_element=found.is_list) for value in found.values if value is not None]
        _check_amount(texts)
        if any(texts):
            return [text for text in texts if text]
        missing.append("it is an empty text")
    told.missing = "; ".join(dict.fromkeys(missing))
    return []


def _text(value: object, *, is_element: bool) -> str:
    what = "an element is" if is_element else "it is"
    if not isinstance(value, str):
        raise _UnusableError(f"{what} {_type_of(value)}, want a text or a list of texts")
    if len(value) > bounds.TEXT_CHARS_MAX:
        raise _UnusableError(f"{what} a text of {len(value)} characters, allowed are {bounds.TEXT_CHARS_MAX}")
    if has_hidden(value):
        raise _UnusableError(f"{what} a text with a control or invisible character")
    return value


def _type_of(value: object) -> str:
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    return "an object" if isinstance(value, Mapping) else "a list" if isinstance(value, list) else "null"


def _check_amount(texts: Sequence[str]) -> None:
    if len(texts) > bounds.TEXTS_MAX:
        raise _UnusableError(f"there are {len(texts)} texts, allowed are {bounds.TEXTS_MAX}")
    if sum(map(len, texts)) > bounds.RULE_CHARS_MAX:
        raise _UnusableError(f"its texts have more than {bounds.RULE_CHARS_MAX} characters together")


def _value(text: str) -> str:
    """Return a text as an attribute has it, in normal form C. Raises _UnusableError."""
    if len(text) > bounds.VALUE_CHARS_MAX:
        raise _UnusableError(f"a text has {len(text)} characters, allowed are {bounds.VALUE_CHARS_MAX}")
    if "*" in text:
        raise _UnusableError("a text holds `*`, which could be taken for a pattern")
    if not is_stream_safe(text):
        raise _UnusableError("a text has too many combining marks in a row")
    return nfc(text)
