"""What tools and attesters declare with their registration: operations, patterns of keys, and whom they speak of.

While several keys of a tool live, or one of them declares again, an operation keeps its contract: time-out, repetition,
what it attests and which parameters are prompts. Its description is no contract, and the newest counts. A declaration
may hold operations more than the last, which are then offered, or fewer, which takes nothing back: it is an instance of
an older version, and reports calls that it does not know as failed. To take an operation back, or to change one, the
tool is revoked and registers anew.
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
from schemas import limits
from schemas.reasons import Reason
from schemas.records import PrincipalRegistered, ToolDeclaration
from schemas.rows import ResourceRow
from schemas.words import Role


def declare_tools(tables: Tables, body: PrincipalRegistered, *, again: bool) -> None:
    """Give a tool its resources; `again`: this very key has declared before. Requires that its key was entered.

    Raises:
        Refusal: REGISTRATION_CONFLICT where a contract changes, RESOURCE_TAKEN, RESOURCE_INVALID, LIMIT_EXCEEDED, or
            what is wrong with a pattern or path.
    """
    if bool(body.tools) != (body.role == Role.TOOL):
        raise Refusal(Reason.REGISTRATION_CONFLICT, "a tool, and no other, declares operations")
    if len({declared.resource for declared in body.tools}) < len(body.tools):
        raise Refusal(Reason.REGISTRATION_CONFLICT, "a tool declares each operation once")
    if sum(len(declared.attests) + len(declared.prompts) for declared in body.tools) > limits.DECLARED_PATTERNS_MAX:
        want = f"want at most {limits.DECLARED_PATTERNS_MAX} patterns and prompts in all operations of a registration"
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
    """Return what instances of two versions offer together. Raises Refusal REGISTRATION_CONFLICT."""
    known, new = ({declared.resource: declared for declared in tools} for tools in (before, now))
    for resource in known.keys() & new.keys():
        if contract(known[resource]) != contract(new[resource]):
            raise Refusal(Reason.REGISTRATION_CONFLICT, "a live instance declares another contract for an operation")
    if known.keys() - new.keys() and new.keys() - known.keys():
        raise Refusal(Reason.REGISTRATION_CONFLICT, "live instances declare other operations: neither holds all")
    return tuple((known | new).values())


def contract(declared: ToolDeclaration) -> ToolDeclaration:
    """Return what a declaration promises to callers and policies: all of it but the description."""
    return replace(declared, description="")


def _declare(tables: Tables, name: str, declared: ToolDeclaration) -> None:
    key = declared.resource.encode("utf-8", "surrogatepass")
    owner = tables.resources.get(key)
    if owner is not None and owner.principal_id != name:
        raise Refusal(Reason.RESOURCE_TAKEN, f"{owner.principal_id!r} offers it, or did: nobody inherits a name")
    _check_resource(declared.resource)
    if not 0 < declared.timeout_ms <= limits.TOOL_TIMEOUT_MS_MAX:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"a tool runs at most {limits.TOOL_TIMEOUT_MS_MAX} ms")
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
    """Check that a resource is declared under the name that policies know it by: what callers may name, and no more."""
    try:
        canonical = len(resource) <= limits.RESOURCE_CHARS_MAX and resource_name(resource).text == resource
    except ResourceInvalidError as exc:
        raise Refusal(Reason.RESOURCE_INVALID, str(exc)) from exc
    if not canonical:
        raise Refusal(Reason.RESOURCE_INVALID, "want a whole name, DOMAIN:NAME, in Unicode's normal form C")


def _check_declared(declared: ToolDeclaration) -> None:
    """Check the patterns and paths of a declaration: they are matched later, for whoever calls."""
    _check_patterns(declared.attests)
    if len(declared.description) > limits.DESCRIPTION_CHARS_MAX:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"want a description of at most {limits.DESCRIPTION_CHARS_MAX} characters")
    if len(declared.prompts) > PATTERNS_MAX:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"an operation declares at most {PATTERNS_MAX} prompts")
    try:
        for path in declared.prompts:
            parse_path(path, "")
    except PolicyError as exc:
        raise Refusal(Reason.PROMPT_MISMATCH, "want paths to parameters") from exc


def check_attester(body: PrincipalRegistered) -> None:
    """Check what an attester may say, and of whom. Raises Refusal."""
    _check_patterns(body.attributes.attests)
    _check_patterns(body.attributes.subjects)


def _check_patterns(patterns: Sequence[str]) -> None:
    if len(patterns) > PATTERNS_MAX:  # each is held against every key that is attested
        raise Refusal(Reason.LIMIT_EXCEEDED, f"want at most {PATTERNS_MAX} patterns in a list")
    try:
        for pattern in patterns:
            check_pattern(pattern, "")
    except PolicyError as exc:
        raise Refusal(Reason.ATTESTATION_FORM, "want patterns of attestation keys") from exc
