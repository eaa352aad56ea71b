"""Verifiers outside the fold: principals of role `verifier`, with the stamps that they may set (docs/wire.md 22).

A declaration is part of a registration. The newest one of a verifier counts, for all its keys. A prefix belongs to one
verifier until all keys of that one are revoked: then another may take it over. So a required verifier that was revoked
still denies the calls in its scope, until an administrator declares otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from processors.identity.keys import live_keys
from processors.policy.errors import PolicyError
from processors.policy.globs import first_literal
from processors.policy.patterns import VAULT_DOMAIN, ResourceName, check_pattern, restricts
from processors.policy.stamped import is_stamp_name
from processors.proof import jcs
from processors.proof.jcs import JSONValue
from processors.refusal import Refusal
from processors.state.tables import Tables
from processors.text.characters import quoted
from schemas import limits
from schemas.events.verdicts import StampDeclaration, VerifierDeclaration
from schemas.reasons import Reason
from schemas.records import PrincipalRegistered
from schemas.rows import VerifierRow
from schemas.words import Role, StampType, Surface

OUTCOME = "outcome"  # the stamp that every verifier has: its answer
# The names under which the log's own verifiers answer and stamp. INVARIANT: those of the pipeline are among them.
RESERVED = frozenset({
    "signature", "tool_authorization", "rate_limit", "workflow_integrity", "prompt_injection", "command_injection",
    "personal_data", "secrets", "parameters", "output_schema", "risk", "provenance", "heard", "said", "marks",
})  # fmt: skip
_VAULT = f"{VAULT_DOMAIN}:"
_SURFACES = frozenset({(Surface.ARGUMENTS,), (Surface.RESULT,), (Surface.ARGUMENTS, Surface.RESULT)})


class StandingVerifier(NamedTuple):
    """A declared verifier: its principal, its declaration, and its stamps where no verdict counts."""

    principal_id: str
    declared: VerifierDeclaration
    types: Mapping[str, str]
    worst: Mapping[str, JSONValue]

    def judges(self, name: ResourceName, surface: str = Surface.ARGUMENTS) -> bool:
        """Return whether it looks at this side of calls of a resource. Patterns are read widely, as restrictions."""
        return surface in self.declared.surfaces and any(restricts(one, name) for one in self.declared.resources)


def declare(tables: Tables, body: PrincipalRegistered) -> None:
    """Keep the declaration of a verifier. Requires that its key was entered, or is known.

    Raises:
        Refusal: VERIFIER_FORM, REGISTRATION_CONFLICT for another's prefix.
    """
    declared = body.verifier
    if (declared is not None) != (body.role == Role.VERIFIER):
        raise Refusal(Reason.VERIFIER_FORM, "`verifier` must be set for role `verifier`, and for no other role")
    if declared is None:
        return
    _check(declared)
    own = body.key.principal_id.encode()
    for key, row in list(tables.verifiers.rows.items()):
        if key != own and row.declared.prefix == declared.prefix:
            if _has_keys(tables, key.decode()):
                owner = quoted(key.decode())
                raise Refusal(Reason.REGISTRATION_CONFLICT, f"the stamp prefix belongs to {owner}; choose another one")
            tables.verifiers.delete(key)
    tables.verifiers.put(own, VerifierRow(declared=declared, since=tables.now))


def admit(tables: Tables, principal_id: str) -> None:
    """Check that the tenant has room for a verifier and its keys; only the monitor does. Raises LIMIT_EXCEEDED."""
    if len(tables.verifiers) > limits.VERIFIERS_MAX:
        want = f"a tenant has at most {limits.VERIFIERS_MAX} verifiers; a revoked one makes room for its prefix"
        raise Refusal(Reason.LIMIT_EXCEEDED, want)
    if len(live_keys(tables, principal_id)) > limits.VERIFIER_KEYS_MAX:
        want = f"a verifier has at most {limits.VERIFIER_KEYS_MAX} live keys; revoke one first"
        raise Refusal(Reason.LIMIT_EXCEEDED, want)


def standing(tables: Tables) -> tuple[StandingVerifier, ...]:
    """Return the verifiers of a tenant in the order of (priority, prefix), revoked ones included."""
    return tables.derived(tables.verifiers, _standing)


def _standing(rows: dict[bytes, VerifierRow]) -> tuple[StandingVerifier, ...]:
    made = [verifier_of(key.decode(), row.declared) for key, row in rows.items()]
    return tuple(sorted(made, key=lambda one: (one.declared.priority, one.declared.prefix)))


def verifier_of(principal_id: str, declared: VerifierDeclaration) -> StandingVerifier:
    """Return a verifier of a declaration that was checked."""
    types = {one.name: one.type for one in declared.stamps}
    worst = {one.name: jcs.parse_strict(one.worst.encode()) for one in declared.stamps}
    return StandingVerifier(principal_id, declared, types, {**worst, OUTCOME: "missing"})


def has_type(value: JSONValue, kind: str) -> bool:
    """Return whether a stamp's value has the declared type, within its bounds."""
    match kind:
        case StampType.BOOLEAN:
            return isinstance(value, bool)
        case StampType.INTEGER:
            return isinstance(value, int) and not isinstance(value, bool)
        case StampType.TEXT:
            return _is_text(value)
        case StampType.TEXTS:
            return isinstance(value, list) and len(value) <= limits.STAMP_TEXTS_MAX and all(map(_is_text, value))
        case _:
            return False


def _is_text(value: JSONValue) -> bool:
    return isinstance(value, str) and len(value) <= limits.STAMP_TEXT_CHARS_MAX


def _has_keys(tables: Tables, principal_id: str) -> bool:
    """Return whether a principal has a key that was not revoked; by the log alone, without a clock."""
    return any(tables.keys.rows[kid].revoked_at is None for kid in tables.keys.of(principal_id))


def _check(declared: VerifierDeclaration) -> None:
    """Check a declaration by itself. Raises Refusal VERIFIER_FORM."""
    _want(is_stamp_name(declared.prefix), "`prefix` is 2 to 32 of a-z, 0-9 and _, and begins with a letter")
    _want(declared.prefix not in RESERVED, f"`prefix` {quoted(declared.prefix)} is a verifier of the log's own")
    _want(declared.surfaces in _SURFACES, "`surfaces` is `arguments`, `result`, or both in this order")
    waits = declared.surfaces != (Surface.RESULT,)
    _want(waits or not declared.required, "no result waits for its verifier: `required` is for `arguments` alone")
    _want(0 <= declared.priority <= limits.VERIFIER_PRIORITY_MAX, f"`priority` is 0 to {limits.VERIFIER_PRIORITY_MAX}")
    _want(len(declared.catalogue) == limits.DIGEST_BYTES, f"`catalogue` has {limits.DIGEST_BYTES} bytes")
    _want(0 < declared.max_age_ms <= limits.VERDICT_AGE_MS_MAX, f"`max_age_ms` is 1 to {limits.VERDICT_AGE_MS_MAX}")
    _check_resources(declared.resources)
    _check_stamps(declared.stamps)


def _check_resources(patterns: Sequence[str]) -> None:
    want = f"`resources` has 1 to {limits.VERIFIER_RESOURCES_MAX} patterns"
    _want(0 < len(patterns) <= limits.VERIFIER_RESOURCES_MAX, want)
    try:
        for pattern in patterns:
            check_pattern(pattern, "")
    except PolicyError as exc:
        raise Refusal(Reason.VERIFIER_FORM, "`resources` holds a text that is not a pattern of resources") from exc
    for pattern in patterns:
        want = f"{quoted(pattern)} can meet `{_VAULT}`, where no verifier is asked: name the domain, as in `tool:**`"
        _want(not _can_meet_vault(pattern), want)


def _can_meet_vault(pattern: str) -> bool:
    """Return whether a pattern in restriction position could meet an operation of the vault: too often at most."""
    first, has_star = first_literal(pattern)
    return first.startswith(_VAULT) or (has_star and _VAULT.startswith(first))


def _check_stamps(stamps: Sequence[StampDeclaration]) -> None:
    _want(len(stamps) <= limits.VERIFIER_STAMPS_MAX, f"a verifier declares at most {limits.VERIFIER_STAMPS_MAX} stamps")
    _want(len({one.name for one in stamps}) == len(stamps), "`stamps` holds a name twice")
    _want(sum(len(one.worst) for one in stamps) <= limits.STAMPS_BYTES_MAX, "the worst values are too long together")
    for one in stamps:
        _want(is_stamp_name(one.name) and one.name != OUTCOME, f"a stamp cannot have the name {quoted(one.name)}")
        _want(one.type in set(StampType), f"a stamp has one of the types {', '.join(StampType)}")
        try:
            worst = jcs.parse_strict(one.worst.encode())
        except (jcs.MalformedJSONError, UnicodeEncodeError):
            raise Refusal(Reason.VERIFIER_FORM, f"the worst value of {quoted(one.name)} is not strict JSON") from None
        _want(has_type(worst, one.type), f"the worst value of {quoted(one.name)} does not have its type")


def _want(holds: bool, detail: str) -> None:  # noqa: FBT001 - a condition, and the sentence that it stands for
    if not holds:
        raise Refusal(Reason.VERIFIER_FORM, detail)
