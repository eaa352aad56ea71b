"""The declarations in a registration: the operations of a tool, and the keys and subjects of an attester.

While several keys of a tool live, or one of them declares again, an operation keeps its contract: time-out, repetition,
attested keys, and the parameters that are prompts. The description is not part of it, and the newest one counts:

    before [a, b], now [a, b, c]    c is offered too
    before [a, b], now [a]          a and b stay: the instance is of an older version, and reports calls of b as failed
    before [a, b], now [b, c]       refused REGISTRATION_CONFLICT: neither instance offers all operations

To remove or change an operation, the tool is revoked and registers anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from processors.identity.keys import payer_of
from processors.policy.errors import PolicyError, ResourceInvalidError
from processors.policy.limits import PATTERNS_MAX
from processors.policy.paths import parse_path
from processors.policy.patterns import check_pattern, resource_name
from processors.refusal import Refusal
from processors.state.tables import Tables
from processors.text.characters import quoted
from schemas import limits
from schemas.events.tools import ToolDeclaration
from schemas.reasons import Reason
from schemas.records import PrincipalRegistered
from schemas.rows import ResourceRow
from schemas.words import Role


def declare_tools(tables: Tables, body: PrincipalRegistered, *, again: bool) -> None:
    """Give a tool its resources. With `again` this very key has declared before. Requires that its key was entered.

    Raises:
        Refusal: REGISTRATION_CONFLICT if a contract changes, RESOURCE_TAKEN, RESOURCE_INVALID, LIMIT_EXCEEDED, or
            ATTESTATION_FORM or PROMPT_MISMATCH for a pattern or path.
    """
    if bool(body.tools) != (body.role == Role.TOOL):
        raise Refusal(Reason.REGISTRATION_CONFLICT, "`tools` must be set for role `tool`, and for no other role")
    if len({declared.resource for declared in body.tools}) < len(body.tools):
        raise Refusal(Reason.REGISTRATION_CONFLICT, "`tools` holds an operation twice")
    if sum(len(declared.attests) + len(declared.prompts) for declared in body.tools) > limits.DECLARED_PATTERNS_MAX:
        want = f"all operations of a registration have at most {limits.DECLARED_PATTERNS_MAX} patterns and prompts"
        raise Refusal(Reason.LIMIT_EXCEEDED, want)
    name = body.key.principal_id
    principal = tables.principals.rows[name.encode()]
    shared = again or len(principal.kids) > 1
    tools = _together(principal.tools, body.tools) if shared else body.tools
    if len(tools) > limits.TOOLS_PER_PRINCIPAL_MAX:
        raise Refusal(Reason.REGISTRATION_CONFLICT, f"a tool has at most {limits.TOOLS_PER_PRINCIPAL_MAX} operations")
    kept = {declared.resource for declared in tools}
    for declared in principal.tools:
        if declared.resource not in kept:
            tables.resources.delete(declared.resource.encode())
    for declared in body.tools:
        _declare(tables, name, declared)
    tables.principals.put(name.encode(), replace(principal, tools=tools))


def _together(before: Sequence[ToolDeclaration], now: Sequence[ToolDeclaration]) -> tuple[ToolDeclaration, ...]:
    """Return the operations that instances of two versions offer together. Raises Refusal REGISTRATION_CONFLICT."""
    known, new = ({declared.resource: declared for declared in tools} for tools in (before, now))
    for resource in sorted(known.keys() & new.keys()):
        if contract(known[resource]) != contract(new[resource]):
            raise Refusal(Reason.REGISTRATION_CONFLICT, "a live instance declares it otherwise; revoke the tool first")
    if known.keys() - new.keys() and new.keys() - known.keys():
        raise Refusal(Reason.REGISTRATION_CONFLICT, "it lacks an operation of a live instance and adds another")
    return tuple((known | new).values())


def contract(declared: ToolDeclaration) -> ToolDeclaration:
    """Return the part of a declaration that callers and policies rely on: all but the description."""
    return replace(declared, description="")


def _declare(tables: Tables, name: str, declared: ToolDeclaration) -> None:
    key = declared.resource.encode("utf-8", "surrogatepass")
    owner = tables.resources.get(key)
    if owner is not None and owner.principal_id != name:
        raise Refusal(
            Reason.RESOURCE_TAKEN, f"the resource belongs to {quoted(owner.principal_id)}; choose another name"
        )
    _check_resource(declared.resource)
    if not 0 < declared.timeout_ms <= limits.TOOL_TIMEOUT_MS_MAX:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"`timeout_ms` is 1 to {limits.TOOL_TIMEOUT_MS_MAX}")
    _check_declared(declared)
    row = ResourceRow(
        principal_id=name,
        timeout_ms=declared.timeout_ms,
        idempotent=declared.idempotent,
        attests=declared.attests,
        prompts=declared.prompts,
        payer=payer_of(tables, name),
    )
    tables.resources.put(key, row)


def _check_resource(resource: str) -> None:
    """Check that a resource is a whole name that callers may use, in the spelling that policies match."""
    try:
        canonical = len(resource) <= limits.RESOURCE_CHARS_MAX and resource_name(resource).text == resource
    except ResourceInvalidError as exc:
        raise Refusal(Reason.RESOURCE_INVALID, str(exc)) from exc
    if not canonical:
        raise Refusal(Reason.RESOURCE_INVALID, "a resource is a whole name, DOMAIN:NAME, in Unicode's normal form C")


def _check_declared(declared: ToolDeclaration) -> None:
    """Check the patterns and paths of a declaration now, because later they are matched with every caller's calls."""
    _check_patterns(declared.attests)
    if len(declared.description) > limits.DESCRIPTION_CHARS_MAX:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"`description` has at most {limits.DESCRIPTION_CHARS_MAX} characters")
    if len(declared.prompts) > PATTERNS_MAX:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"an operation declares at most {PATTERNS_MAX} prompts")
    try:
        for path in declared.prompts:
            parse_path(path, "")
    except PolicyError as exc:
        raise Refusal(Reason.PROMPT_MISMATCH, "`prompts` holds a text that is not a path to a parameter") from exc


def check_attester(body: PrincipalRegistered) -> None:
    """Check an attester's patterns: of the keys that it attests, and of the principals that it attests about.

    Raises:
        Refusal: LIMIT_EXCEEDED or ATTESTATION_FORM.
    """
    _check_patterns(body.attributes.attests)
    _check_patterns(body.attributes.subjects)


def _check_patterns(patterns: Sequence[str]) -> None:
    if len(patterns) > PATTERNS_MAX:  # each is matched with every key that is attested
        raise Refusal(Reason.LIMIT_EXCEEDED, f"a list has at most {PATTERNS_MAX} patterns")
    try:
        for pattern in patterns:
            check_pattern(pattern, "")
    except PolicyError as exc:
        raise Refusal(Reason.ATTESTATION_FORM, "`attests` or `subjects` holds a text that is not a pattern") from exc
