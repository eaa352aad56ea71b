"""The declarations in a registration: the operations of a tool, and the keys and subjects of an attester.

While several keys of a tool live, or one of them declares again, an operation keeps its contract: time-out, repetition,
attested keys, the parameters that are prompts, texts that may travel beside a call or be masked, and its schemas. The
description is not part of it, and the newest one counts:

    before [a, b], now [a, b, c]    c is offered too
    before [a, b], now [a]          a and b stay: the instance is of an older version, and reports calls of b as failed
    before [a, b], now [b, c]       refused REGISTRATION_CONFLICT: neither instance offers all operations

To remove or change an operation, the tool is revoked and registers anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from processors.identity.keys import payer_of
from processors.policy.errors import PolicyError, ResourceInvalidError
from processors.policy.limits import PATTERNS_MAX
from processors.policy.paths import ANYWHERE, parse_path
from processors.policy.patterns import check_pattern, resource_name
from processors.refusal import Refusal
from processors.state.tables import Tables
from processors.text.characters import quoted
from schemas import limits
from schemas.errors import InputError
from schemas.events.tools import ToolDeclaration
from schemas.reasons import Reason
from schemas.records import PrincipalRegistered
from schemas.rows import ResourceRow
from schemas.words import Role


def declare_tools(tables: Tables, body: PrincipalRegistered, *, again: bool) -> None:
    """Give a tool its resources. With `again` this very key has declared before. Requires that its key was entered.

    Raises:
        Refusal: REGISTRATION_CONFLICT if a contract changes, RESOURCE_TAKEN, RESOURCE_INVALID, LIMIT_EXCEEDED, or
            ATTESTATION_FORM, PROMPT_MISMATCH, BODY_REFERENCE or MASK_FORM for a pattern or path.
    """
    if bool(body.tools) != (body.role == Role.TOOL):
        raise Refusal(Reason.REGISTRATION_CONFLICT, "`tools` must be set for role `tool`, and for no other role")
    check_listed(body.tools)
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
        check_declaration(declared)
        own(tables, name, declared, by_sessions=False)
    tables.principals.put(name.encode(), replace(principal, tools=tools))


def resource_row(tables: Tables, resource: str) -> ResourceRow | None:
    """Return the row of a resource, None if nobody has declared it."""
    return tables.resources.get(resource.encode("utf-8", "surrogatepass"))


def check_listed(tools: Sequence[ToolDeclaration]) -> None:
    """Check that each operation is listed once, and that checking all patterns and paths does not take too long.

    Raises:
        Refusal: REGISTRATION_CONFLICT or LIMIT_EXCEEDED.
    """
    if len({declared.resource for declared in tools}) < len(tools):
        raise Refusal(Reason.REGISTRATION_CONFLICT, "`tools` holds an operation twice")
    if sum(map(_patterns_of, tools)) > limits.DECLARED_PATTERNS_MAX:
        want = f"all operations together have at most {limits.DECLARED_PATTERNS_MAX} patterns and paths"
        raise Refusal(Reason.LIMIT_EXCEEDED, want)


def _patterns_of(declared: ToolDeclaration) -> int:
    paths = len(declared.prompts) + len(declared.body_paths) + len(declared.opaque_paths)
    return len(declared.attests) + paths + len(declared.maskable_paths)


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


def own(tables: Tables, name: str, declared: ToolDeclaration, *, by_sessions: bool = True) -> None:
    """Give a principal a free resource, or declare its own anew. Raises Refusal RESOURCE_TAKEN."""
    key = declared.resource.encode("utf-8", "surrogatepass")
    owner = tables.resources.get(key)
    if owner is not None and owner.principal_id != name:
        raise Refusal(
            Reason.RESOURCE_TAKEN, f"the resource belongs to {quoted(owner.principal_id)}; choose another name"
        )
    row = ResourceRow(
        principal_id=name,
        timeout_ms=declared.timeout_ms,
        idempotent=declared.idempotent,
        attests=declared.attests,
        prompts=declared.prompts,
        payer=payer_of(tables, name),
        by_sessions=by_sessions,
        body_paths=declared.body_paths,
        opaque_paths=declared.opaque_paths,
        input_schema=declared.input_schema,
        output_schema=declared.output_schema,
        maskable_paths=declared.maskable_paths,
    )
    if owner != row:
        tables.resources.put(key, row)


def check_declaration(declared: ToolDeclaration) -> None:
    """Check the declaration of one operation by itself.

    Raises:
        Refusal: RESOURCE_INVALID, LIMIT_EXCEEDED, or ATTESTATION_FORM, PROMPT_MISMATCH, BODY_REFERENCE
            or MASK_FORM for a pattern or path.
    """
    _check_resource(declared.resource)
    if not 0 < declared.timeout_ms <= limits.TOOL_TIMEOUT_MS_MAX:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"`timeout_ms` is 1 to {limits.TOOL_TIMEOUT_MS_MAX}")
    _check_declared(declared)
    for schema in _schemas_of(declared):
        if len(schema.encode("utf-8", "surrogatepass")) > limits.TOOL_SCHEMA_BYTES_MAX:
            raise Refusal(Reason.LIMIT_EXCEEDED, f"a schema has at most {limits.TOOL_SCHEMA_BYTES_MAX} bytes")


def schemas_in(tools: Sequence[ToolDeclaration]) -> list[str]:
    """Return the schemas of declarations, of parameters and of results."""
    return [schema for declared in tools for schema in _schemas_of(declared)]


def check_schemas(tools: Sequence[ToolDeclaration], note: Callable[[int], None]) -> None:
    """Check that the schemas of declarations are ones that the engine can judge calls and results by.

    `note` gets the units of the work, also where it refuses. Only the monitor calls it: followers of the registry judge
    no call, and need no library for schemas.

    Raises:
        Refusal: SCHEMA_INVALID.
    """
    from processors.content.parameter_schemas import SchemasChecked  # clients have no library for schemas

    checked = SchemasChecked()
    try:
        checked.check(schemas_in(tools))
    except InputError as exc:
        names = (quoted(declared.resource) for declared in tools if checked.last in _schemas_of(declared))
        raise Refusal(Reason.SCHEMA_INVALID, ": ".join((*list(names)[:1], str(exc)))) from exc
    finally:
        note(checked.units)


def _schemas_of(declared: ToolDeclaration) -> list[str]:
    return [schema for schema in (declared.input_schema, declared.output_schema) if schema is not None]


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
    _check_body_paths(declared)
    _check_maskable_paths(declared.maskable_paths)


def _check_body_paths(declared: ToolDeclaration) -> None:
    paths, opaque = declared.body_paths, declared.opaque_paths
    if len(paths) > PATTERNS_MAX:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"an operation declares at most {PATTERNS_MAX} paths of bodies")
    if len(set(paths)) < len(paths) or len(set(opaque)) < len(opaque) or not set(opaque) <= set(paths):
        raise Refusal(Reason.BODY_REFERENCE, "`body_paths` names each path once, and `opaque_paths` some of them")
    try:
        for path in paths:
            if path != ANYWHERE:
                parse_path(path, "")
    except PolicyError as exc:
        raise Refusal(Reason.BODY_REFERENCE, "`body_paths` holds a text that is not a path to a parameter") from exc


def _check_maskable_paths(paths: Sequence[str]) -> None:
    if len(paths) > PATTERNS_MAX:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"an operation declares at most {PATTERNS_MAX} maskable paths")
    if len(set(paths)) < len(paths):
        raise Refusal(Reason.MASK_FORM, "`maskable_paths` names a path twice")
    try:
        for path in paths:
            if path != ANYWHERE:
                parse_path(path, "")
    except PolicyError as exc:
        raise Refusal(Reason.MASK_FORM, "`maskable_paths` holds a text that is not a path to a parameter") from exc


def check_attester(body: PrincipalRegistered) -> None:
    """Check an attester's patterns: of the keys that it attests, and of the principals that it attests about.

    Raises:
        Refusal: LIMIT_EXCEEDED or ATTESTATION_FORM.
    """
    _check_patterns(body.attributes.attests)
    _check_patterns(body.attributes.subjects)


def check_offers(body: PrincipalRegistered) -> None:
    """Check the patterns of names that sessions may offer: of an agent or service, or in the grant of an enrolment key.

    Raises:
        Refusal: ATTRIBUTE_INVALID; NOT_SUPPORTED where `only_within_calls` is set for a role that never calls.
    """
    if body.only_within_calls and body.role not in (Role.AGENT, Role.SERVICE, Role.TOOL):
        raise Refusal(Reason.NOT_SUPPORTED, "`only_within_calls` is for programs that call: agents, services and tools")
    granted = () if body.enrolment is None else body.enrolment.attributes.offers
    if body.attributes.offers and body.role not in (Role.AGENT, Role.SERVICE):
        raise Refusal(Reason.ATTRIBUTE_INVALID, "`offers` is an attribute of agents and services, and of no other role")
    for listed in (body.attributes.offers, granted):
        if len(listed) > PATTERNS_MAX:
            raise Refusal(Reason.ATTRIBUTE_INVALID, f"`offers` has at most {PATTERNS_MAX} patterns")
        try:
            for pattern in listed:
                check_pattern(pattern, "")
        except PolicyError as exc:
            raise Refusal(Reason.ATTRIBUTE_INVALID, "`offers` holds a text that is not a pattern of names") from exc


def _check_patterns(patterns: Sequence[str]) -> None:
    if len(patterns) > PATTERNS_MAX:  # each is matched with every key that is attested
        raise Refusal(Reason.LIMIT_EXCEEDED, f"a list has at most {PATTERNS_MAX} patterns")
    try:
        for pattern in patterns:
            check_pattern(pattern, "")
    except PolicyError as exc:
        raise Refusal(Reason.ATTESTATION_FORM, "`attests` or `subjects` holds a text that is not a pattern") from exc
