"""The limits of registered approvers: the calls and keys that they answer, and the persons that they speak for.

The calls are bounded in the words of a delegation (docs/mapl.md 11), and judged by its code. The limits come with the
registration of the key, stay with it through a rotation, and are never changed: to change them, an administrator
revokes the approver and registers it anew. An approver without limits may answer every request that asks for its roles.
"""

from __future__ import annotations

from functools import lru_cache

from processors.policy import names
from processors.policy.delegation import Scope, parse_scope
from processors.policy.errors import PolicyError
from processors.policy.globs import granting
from processors.policy.limits import CACHED_SCOPES_MAX
from processors.policy.patterns import check_pattern
from processors.refusal import Refusal
from schemas import limits
from schemas.events.attributes import ApproverLimits
from schemas.reasons import Reason
from schemas.records import PrincipalRegistered
from schemas.words import Role


def check_limits(body: PrincipalRegistered) -> None:
    """Check the limits of an approver's registration; any other role has none. Raises Refusal APPROVER_LIMITS_FORM."""
    most = body.approver
    if most is None:
        return
    if body.role != Role.APPROVER:
        raise Refusal(Reason.APPROVER_LIMITS_FORM, "`approver` is for keys of role `approver`, and for no other role")
    if most.scope is not None:
        scope_of(most)
    if not most.keys:
        raise Refusal(Reason.APPROVER_LIMITS_FORM, "`keys` is empty, so no key could be approved; `**` is every key")
    size = sum(len(one.encode("utf-8", "surrogatepass")) for one in (most.scope or "", *most.keys, *most.speaks_for))
    if size > limits.APPROVER_LIMITS_BYTES_MAX:
        raise Refusal(Reason.APPROVER_LIMITS_FORM, f"the limits have at most {limits.APPROVER_LIMITS_BYTES_MAX} bytes")
    _check_patterns("keys", most.keys)
    _check_patterns("speaks_for", most.speaks_for)
    for pattern in most.speaks_for:
        if pattern != "**" and not pattern.startswith(names.PERSON_PREFIX):
            want = f"a pattern of `speaks_for` begins with {names.PERSON_PREFIX}, or is **: persons alone say yes or no"
            raise Refusal(Reason.APPROVER_LIMITS_FORM, want)


def _check_patterns(field: str, patterns: tuple[str, ...]) -> None:
    if len(patterns) > limits.APPROVER_PATTERNS_MAX:
        raise Refusal(Reason.APPROVER_LIMITS_FORM, f"`{field}` has at most {limits.APPROVER_PATTERNS_MAX} patterns")
    try:
        for pattern in patterns:
            check_pattern(pattern, "")
    except PolicyError as exc:
        raise Refusal(Reason.APPROVER_LIMITS_FORM, f"`{field}` holds a text that is not a pattern") from exc


def scope_of(most: ApproverLimits) -> Scope | None:
    """Return the bounds of the calls that an approver may answer, None for any call.

    Raises:
        Refusal: APPROVER_LIMITS_FORM; never for limits that were checked.
    """
    return None if most.scope is None else _scope(most.scope)


@lru_cache(maxsize=CACHED_SCOPES_MAX)
def _scope(text: str) -> Scope:
    try:
        return parse_scope(text.encode("utf-8", "surrogatepass"))
    except PolicyError as exc:
        raise Refusal(Reason.APPROVER_LIMITS_FORM, f"`scope` is not the scope of a delegation: {exc}") from exc


def answers_key(most: ApproverLimits, key: str) -> bool:
    """Return whether an approver may answer requests under an attestation key. Patterns are in grant position."""
    return any(granting(pattern)(key) for pattern in most.keys)


def may_speak_for(most: ApproverLimits | None, name: str) -> bool:
    """Return whether an approver may pass on the answer of a person; `*` stops at `/` and `:`, `**` is every person."""
    return most is not None and names.meets_any(most.speaks_for, name)
