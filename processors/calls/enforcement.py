"""Exceptions from enforcement, as administrators set them: observe mode, freeze and break-glass (docs/observe.md).

    observe      tenant, policy or resource    what would be denied is allowed, and the decision tells it (`observing`)
    freeze       tenant, principal, resource   no call begins; freeze wins over the two others
    break-glass  a resource for a person       policies do not deny, for at most an hour of log time

A pattern that opens meets names exactly, in grant position; one that closes meets every spelling. Administrators alone
set them, by an event; they are rows of the tenant, as its policies are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from processors.calls.judge import current_policies
from processors.intake.identify import Signer
from processors.policy.documents import ORGANISATION_PREFIX
from processors.policy.errors import PolicyError, ResourceInvalidError
from processors.policy.names import TOOL_PREFIX, check_printable
from processors.policy.patterns import ResourceName, check_pattern, grants, resource_name, restricts
from processors.proof.jcs import JSONValue
from processors.refusal import Refusal
from processors.state.tables import Tables
from processors.text.characters import quoted
from processors.text.forms import fold, is_stream_safe, nfc
from schemas import limits
from schemas.events.enforcement import EnforcementSet
from schemas.events.logins import SessionRenewed
from schemas.events.verdicts import VerdictReported
from schemas.events.workflow import (
    AttestationApproved,
    AttestationSet,
    ContextDeleted,
    ContextListed,
    ContextRead,
    ContextWritten,
    DelegationGranted,
)
from schemas.reasons import Reason
from schemas.records import PrincipalRegistered, SessionOpened
from schemas.rows import EnforcementRow
from schemas.words import EnforcementKind as Kind
from schemas.words import EnforcementScope as Scope
from schemas.words import Role

SCOPES = {
    Kind.OBSERVE: (Scope.TENANT, Scope.POLICY, Scope.RESOURCE),
    Kind.FREEZE: (Scope.TENANT, Scope.PRINCIPAL, Scope.RESOURCE),
    Kind.BREAK_GLASS: (Scope.RESOURCE,),
}
MOST = {
    Kind.OBSERVE: limits.OBSERVED_MAX,
    Kind.FREEZE: limits.FROZEN_MAX,
    Kind.BREAK_GLASS: limits.BREAK_GLASS_MAX,
}
# Events that are refused in a frozen tenant, and of a frozen principal. Calls are decided, and denied.
STOPPED = frozenset(
    {
        AttestationApproved,
        AttestationSet,
        ContextDeleted,
        ContextListed,
        ContextRead,
        ContextWritten,
        DelegationGranted,
    }
)
# Beside these, of a frozen principal alone: what an enrolment key, a bridge or a verifier says of others.
STOPPED_OF_PRINCIPALS = STOPPED | {PrincipalRegistered, SessionOpened, SessionRenewed, VerdictReported}


class BreakGlass(NamedTuple):
    """A resource that is open for one person. `event` is the leaf of the event that opened it."""

    resource: str
    person: str
    event: bytes
    until: int


class Enforcement(NamedTuple):
    """The exceptions of a tenant, ready to be asked. Names of frozen principals are folded."""

    observes_tenant: bool = False
    policies: frozenset[str] = frozenset()
    resources: tuple[str, ...] = ()
    is_frozen: bool = False
    frozen_principals: frozenset[str] = frozenset()
    frozen_resources: tuple[str, ...] = ()
    glass: tuple[BreakGlass, ...] = ()

    def observes(self, name: ResourceName) -> bool:
        """Return whether every call of a resource is observed."""
        return self.observes_tenant or any(grants(pattern, name) for pattern in self.resources)

    def glass_for(self, name: ResourceName, person: str, now: int) -> BreakGlass | None:
        """Return the break-glass of a person for a resource, None if none is open now."""
        open_now = (one for one in self.glass if now < one.until)  # a due row may still be here
        return next((one for one in open_now if one.person == person and one.resource == name.text), None)


_NONE = Enforcement()


def current(tables: Tables) -> Enforcement:
    """Return the exceptions that stand. They are read again only after one has changed."""
    return tables.derived(tables.enforcement, _read) if tables.enforcement.rows else _NONE


def _read(rows: dict[bytes, EnforcementRow]) -> Enforcement:
    def named(kind: Kind, scope: Scope) -> list[str]:
        return [row.name for row in rows.values() if row.kind == kind and row.scope == scope]

    frozen = named(Kind.FREEZE, Scope.PRINCIPAL)
    return Enforcement(
        observes_tenant=bool(named(Kind.OBSERVE, Scope.TENANT)),
        policies=frozenset(named(Kind.OBSERVE, Scope.POLICY)),
        resources=tuple(sorted(named(Kind.OBSERVE, Scope.RESOURCE))),
        is_frozen=bool(named(Kind.FREEZE, Scope.TENANT)),
        frozen_principals=frozenset(fold(one) for name in frozen for one in (name, TOOL_PREFIX + name)),
        frozen_resources=tuple(sorted(named(Kind.FREEZE, Scope.RESOURCE))),
        glass=tuple(
            BreakGlass(row.name, row.person, row.event, row.until)
            for _, row in sorted(rows.items())
            if row.kind == Kind.BREAK_GLASS
        ),
    )


# ---- freeze


def check_not_frozen(tables: Tables, principals: Iterable[str], resource: str) -> None:
    """Raise Refusal FROZEN if the tenant, one of some principals, or a resource is frozen.

    Requires the well-formed name of a resource.
    """
    frozen = current(tables)
    if frozen.is_frozen:
        raise Refusal(Reason.FROZEN, "the tenant is frozen")
    _check_principals(tables, principals)
    if frozen.frozen_resources:
        name = resource_name(resource)
        if any(restricts(pattern, name) for pattern in frozen.frozen_resources):
            raise Refusal(Reason.FROZEN, "the resource is frozen")


def _check_principals(tables: Tables, principals: Iterable[str]) -> None:
    frozen = current(tables).frozen_principals
    for one in principals if frozen else ():
        if fold(one) in frozen:
            raise Refusal(Reason.FROZEN, f"{quoted(one)} is frozen")


def check_signer(tables: Tables, signer: Signer, body: object) -> None:
    """Raise Refusal FROZEN for an event in STOPPED of a frozen tenant or principal. Administrators are never frozen."""
    if not tables.enforcement.rows or signer.role == Role.ADMIN or type(body) not in STOPPED_OF_PRINCIPALS:
        return
    if type(body) in STOPPED and current(tables).is_frozen:
        raise Refusal(Reason.FROZEN, "the tenant is frozen")
    actors = () if signer.session is None else signer.session.actors
    _check_principals(tables, (signer.principal_id, *actors))


def is_frozen(tables: Tables, principal_id: str) -> bool:
    """Return whether a principal, or the tenant, is frozen."""
    frozen = current(tables)
    return frozen.is_frozen or fold(principal_id) in frozen.frozen_principals


# ---- changes


def change(tables: Tables, by: str, leaf: bytes, body: EnforcementSet) -> None:
    """Set or end an exception, from the next record on. One that stands is replaced.

    Raises:
        Refusal: ENFORCEMENT_FORM, a field is not well formed, or the policy or exception is not there;
            LIMIT_EXCEEDED, too many stand.
    """
    kind, scope = _kind_of(body)
    if not 0 < len(body.reason) <= limits.REASON_CHARS_MAX:
        raise _form(f"give a reason of at most {limits.REASON_CHARS_MAX} characters")
    name, person = nfc(body.name) if is_stream_safe(body.name) else body.name, body.person or ""
    key = key_of(kind, scope, name, person)
    if not body.on:
        if body.lasts_ms is not None:
            raise _form("`lasts_ms` is given only to begin")
        if tables.enforcement.get(key) is None:
            raise _form(f"nothing of this kind stands for {quoted(name) if name else 'the tenant'}")
        tables.enforcement.delete(key)
        return
    _check_name(tables, kind, scope, name)
    if kind is Kind.BREAK_GLASS:
        _check_glass(body)
    elif body.lasts_ms is not None or body.person is not None:
        raise _form("`person` and `lasts_ms` are of a break-glass alone")
    if tables.enforcement.get(key) is None and _count(tables, kind) >= MOST[kind]:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"at most {MOST[kind]} of {kind} stand at once; end one first")
    until = limits.FOR_EVER_MS if body.lasts_ms is None else tables.now + body.lasts_ms
    row = EnforcementRow(
        kind=str(kind),
        scope=str(scope),
        name=name,
        person=person,
        since=tables.now,
        until=until,
        event=leaf,
        by=by,
        reason=body.reason,
    )
    tables.enforcement.put(key, row)


def forget_policy(tables: Tables, policy_id: str) -> None:
    """End the observe mode of a policy that is withdrawn: a later one of its name is enforced."""
    key = key_of(Kind.OBSERVE, Scope.POLICY, policy_id, "")
    if tables.enforcement.get(key) is not None:
        tables.enforcement.delete(key)


def key_of(kind: str, scope: str, name: str, person: str) -> bytes:
    """Return the key of an exception's row. No part holds a line feed: names show all their characters."""
    return f"{kind}\n{scope}\n{name}\n{person}".encode("utf-8", "surrogatepass")


def _kind_of(body: EnforcementSet) -> tuple[Kind, Scope]:
    if body.kind not in set(Kind):
        raise _form(f"`kind` is {quoted(body.kind)}, want {', '.join(Kind)}")
    kind = Kind(body.kind)
    if body.scope not in SCOPES[kind]:
        raise _form(f"`scope` is {quoted(body.scope)}, want {' or '.join(SCOPES[kind])} for {kind}")
    return kind, Scope(body.scope)


def _check_name(tables: Tables, kind: Kind, scope: Scope, name: str) -> None:
    if (scope is Scope.TENANT) != (not name):
        raise _form("`name` is empty for the tenant, and for nothing else")
    if len(name) > limits.RESOURCE_CHARS_MAX or not is_stream_safe(name):
        raise _form(f"`name` has at most {limits.RESOURCE_CHARS_MAX} characters, and none in a row without end")
    if scope is Scope.POLICY:
        if name.startswith(ORGANISATION_PREFIX):
            raise _form("a policy of the organisation is enforced: no administrator can observe it")
        if name not in current_policies(tables).by_id:
            raise _form(f"no policy {quoted(name)} is in force")
    elif scope is Scope.PRINCIPAL:
        _check_principal("name", name)
    elif scope is Scope.RESOURCE:
        (_check_resource if kind is Kind.BREAK_GLASS else _check_pattern)(name)


def _check_principal(field: str, name: str) -> None:
    try:
        check_printable(name, limits.PROVIDED_NAME_CHARS_MAX)
    except Refusal as refusal:
        raise _form(f"`{field}` is not the name of a principal: {refusal.detail}") from refusal


def _check_pattern(name: str) -> None:
    try:
        check_pattern(name, "")
    except PolicyError as exc:
        raise _form(f"`name` is not the pattern of a resource: {exc.code}") from exc


def _check_resource(name: str) -> None:
    try:
        found = resource_name(name).text
    except ResourceInvalidError as exc:
        raise _form("`name` is not that of a resource") from exc
    if found != name or "*" in name or "?" in name:
        raise _form(f"a break-glass opens one resource by its whole name, as {quoted(found.replace('*', ''))}")


def _check_glass(body: EnforcementSet) -> None:
    if body.person is None:
        raise _form("a break-glass is for one person: `person` is not given")
    _check_principal("person", body.person)
    least, most = limits.BREAK_GLASS_MS_MIN, limits.BREAK_GLASS_MS_MAX
    if body.lasts_ms is None or not least <= body.lasts_ms <= most:
        raise _form(f"`lasts_ms` is {body.lasts_ms}, want {least} to {most}")


def _count(tables: Tables, kind: Kind) -> int:
    return sum(row.kind == kind for row in tables.enforcement.rows.values())


def _form(detail: str) -> Refusal:
    return Refusal(Reason.ENFORCEMENT_FORM, detail)


# ---- telling


def told(tables: Tables, kinds: Collection[str] = tuple(Kind)) -> JSONValue:
    """Return the exceptions that stand for an administrator's question, in the order of their keys."""
    rows = [row for _, row in sorted(tables.enforcement.rows.items()) if row.kind in kinds and tables.now < row.until]
    return {
        "enforcement": [
            {
                "kind": row.kind,
                "scope": row.scope,
                "name": row.name,
                "person": row.person,
                "since": row.since,
                "until": None if row.until >= limits.FOR_EVER_MS else row.until,
                "event": row.event.hex(),
                "by": row.by,
                "reason": row.reason,
            }
            for row in rows
        ]
    }
