"""Registering what an installation holds the keys of: with which key, and so that no key is lost on the way.

A new key is in its file before it is registered, because nobody could speak with one that is registered and lost. What
is done is done once: to register again with the same key, role and attributes changes nothing.

An administrator's key registers anybody, an enrolment key what its grant says (`processors.identity.enrolment`): the
one in `enrolments/NAME.key` is for the principal NAME, or for those whom `enrolment=NAME` asks for; `enrol.key`, made
when the tenant was founded, is for agents and services without attributes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from processors.identity import enrolment as grants
from processors.identity.declarations import contract
from producers.control import Control
from producers.home import Home, HomeError, TenantHome
from producers.keys import KeyPair
from producers.outcomes import RefusedError
from producers.registry_view import RegistryView
from producers.tools import ToolFunction
from schemas.attributes import NONE, Attributes
from schemas.reasons import Reason
from schemas.records import EnrolmentGrant, PrincipalRegistered, ToolDeclaration
from schemas.rows import KeyRow
from schemas.words import Role

log = logging.getLogger(__name__)

ENROLMENT_PREFIX = "enrolment:"  # of the names of enrolment keys: a star of no pattern meets it
_OUTSIDE_GRANT = frozenset(
    {Reason.WRONG_ROLE, Reason.NAME_INVALID, Reason.ATTRIBUTE_INVALID, Reason.ENROLMENT_EXCEEDED}
    | {Reason.ATTESTATION_NOT_DECLARED, Reason.EXPIRED_KEY, Reason.REVOKED_KEY}
)


class Registrar(NamedTuple):
    """Who registers: a key and the principal whose it is."""

    key: KeyPair
    principal_id: str


def registrar(folder: TenantHome, role: str, name: str, *, enrolment: str | None = None) -> Registrar:
    """Return the key in a tenant's folder that registers a principal.

    Raises:
        HomeError: there is none that may; the message says how to get one.
        KeyFileError: its file cannot be read.
    """
    if enrolment is None and (folder.path / "admin.key").exists():
        return Registrar(folder.key("admin"), "admin")
    path = folder.key_file("enrolment", enrolment or name)
    if enrolment is not None or path.exists():
        return Registrar(KeyPair.load(path), f"{ENROLMENT_PREFIX}{enrolment or name}")
    if role != Role.TOOL and (folder.path / "enrol.key").exists():
        return Registrar(folder.key("enrol"), "enrol")
    raise HomeError(
        f"no key in {folder.path} may register the {role} {name!r}: where admin.key is, run "
        f"`macaw enrolment create {quote(name)} --for {role} --home FOLDER`, and run this in FOLDER or a copy of it"
    )


def register_key(
    control: Control,
    path: Path,
    role: str,
    name: str,
    attributes: Attributes,
    *,
    enrolment: EnrolmentGrant | None = None,
    expires_at: int | None = None,
) -> KeyPair:
    """Register the key in a file, or a new one that is kept there before, and return it.

    Of an enrolment key's grant the fixed attributes are added. A new file is removed again where the log refuses.

    Raises:
        RefusedError: the log refused it; KEY_TAKEN where the key is registered otherwise than it is asked for here.
        NoAnswerError, PublishError: nobody knows; to ask again is safe.
    """
    made = not path.exists()
    if made:
        KeyPair.generate().save(path)
    key = KeyPair.load(path)
    body = PrincipalRegistered(
        role=role,
        key=key.offer(role, name, control.tenant.genesis),
        attributes=_attributes(control, attributes),
        expires_at=expires_at,
        tools=(),
        enrolment=enrolment,
    )
    try:
        control.tell(body)
    except RefusedError as exc:
        row = control.registry.live_key(key.kid, role) if exc.reason == Reason.KEY_TAKEN else None
        if row is not None and _is_registered_as(row, body):
            return key
        if made:
            path.unlink()
        raise _outside_grant(control, role, name, exc) from exc
    return key


def _is_registered_as(row: KeyRow, body: PrincipalRegistered) -> bool:
    now = (row.principal_id, row.attributes, row.enrolment)
    return now == (body.key.principal_id, body.attributes, body.enrolment)


def _attributes(control: Control, attributes: Attributes) -> Attributes:
    row = control.registry.key(control.key.kid)
    if row is None or row.enrolment is None:
        return attributes
    return grants.with_fixed(attributes, row.enrolment.attributes)


def _outside_grant(control: Control, role: str, name: str, exc: RefusedError) -> RefusedError:
    """Return a refusal with what helps where the enrolment key may not do this."""
    if control.principal_id == "admin" or exc.reason not in _OUTSIDE_GRANT:
        return exc
    return RefusedError(
        f"{exc}; the enrolment key {control.principal_id!r} may not do that: register where admin.key is, or have a "
        f"key made there with `macaw enrolment create {quote(name)} --for {role}`, see its --help",
        reason=exc.reason,
        answer=exc.answer,
    )


# ---- tools


def tool_key(folder: TenantHome, app: str) -> KeyPair:
    """Return this instance's key of a tool, made on first use."""
    path = folder.key_file("tool", app)
    if not path.exists():
        KeyPair.generate().save(path)
    return KeyPair.load(path)


def declared_by(app: str, tools: Sequence[ToolFunction]) -> tuple[ToolDeclaration, ...]:
    """Return what an app's functions offer."""
    return tuple(
        ToolDeclaration(
            resource=f"tool:{app}/{t.name}",
            description=t.description,
            timeout_ms=int(t.timeout_seconds * 1000),
            idempotent=t.idempotent,
            attests=t.attests,
            prompts=t.prompts,
        )
        for t in tools
    )


def register_tool(home: Home, folder: TenantHome, app: str, tools: Sequence[ToolFunction]) -> KeyPair:
    """Register this instance of a tool, or what it declares anew, unless the log has it already; return its key.

    Raises:
        RefusedError: an operation has changed while instances live, the key was revoked, or the log refused it.
        HomeError: no key here may register it.
    """
    key, declared = tool_key(folder, app), declared_by(app, tools)
    row, offered = _on_the_log(home, folder, app, key)
    _check_contracts(app, declared, offered)
    adds = any(one.resource not in offered for one in declared)
    # An older version, which lacks something, does not put its descriptions in place of newer ones.
    older = len(declared) < len(offered) and not adds
    if row is not None and (older or all(offered.get(one.resource) == one for one in declared)):
        return key
    try:
        _declare(home, folder, app, key, declared, row)
    except (HomeError, RefusedError) as exc:
        if row is None or adds:
            raise
        log.warning("%s serves, but the log keeps its old descriptions: %s", app, exc)  # which are no contract
    return key


def _on_the_log(
    home: Home, folder: TenantHome, app: str, key: KeyPair
) -> tuple[KeyRow | None, dict[str, ToolDeclaration]]:
    """Return the row of an instance's key, None where it is not live, and what live instances offer."""
    view = RegistryView(
        home.bootstrap,
        tenant=folder.tenant,
        genesis=folder.genesis,
        deployment=home.config.get("deployment", "local"),
        security=home.security,
    )
    with closing(view):
        row = view.live_key(key.kid, Role.TOOL)
        if row is None and view.key(key.kid) is not None:
            raise RefusedError(_ended(folder, app), reason=Reason.REVOKED_KEY)
        principal = view.tables.principals.get(app.encode())
        lives = principal is not None and any(view.live_key(kid, Role.TOOL) is not None for kid in principal.kids)
        return row, {one.resource: one for one in principal.tools} if principal is not None and lives else {}


def _ended(folder: TenantHome, app: str) -> str:
    return (
        f"the key of the tool {app!r} was revoked or has ended: remove {folder.key_file('tool', app)}, and serve it "
        f"again; where admin.key is not, first have an enrolment key made: `macaw enrolment create {app} --for tool`"
    )


def _check_contracts(app: str, declared: Sequence[ToolDeclaration], offered: Mapping[str, ToolDeclaration]) -> None:
    """Look whether what live instances offer stays as it is, and warn of what is missing here. Raises RefusedError."""
    changed = [one.resource for one in declared if one.resource in offered and _differs(one, offered[one.resource])]
    missing = sorted(offered.keys() - {one.resource for one in declared})
    new = [one.resource for one in declared if one.resource not in offered]
    if changed or (missing and new):
        what = f"changes {', '.join(changed)}" if changed else f"has {', '.join(new)} but lacks {', '.join(missing)}"
        raise RefusedError(
            f"{app} {what}, and live instances keep what they declared: operations may be added, not changed; where "
            f"admin.key is, run `macaw tool revoke {app}`, which ends every instance, then serve it again",
            reason=Reason.REGISTRATION_CONFLICT,
        )
    if missing:
        log.warning(
            "%s lacks %s, which the log goes on offering: such calls fail here. `macaw tool revoke %s` takes them back",
            app, ", ".join(missing), app,
        )  # fmt: skip


def _differs(one: ToolDeclaration, other: ToolDeclaration) -> bool:
    return contract(one) != contract(other)


def _declare(
    home: Home,
    folder: TenantHome,
    app: str,
    key: KeyPair,
    declared: tuple[ToolDeclaration, ...],
    row: KeyRow | None,
) -> None:
    by = registrar(folder, "tool", app)
    with Control(home, folder, by.key, by.principal_id) as control:
        body = PrincipalRegistered(
            role=Role.TOOL,
            key=key.offer(Role.TOOL, app, folder.genesis),
            attributes=_attributes(control, NONE) if row is None else row.attributes,
            expires_at=None if row is None else row.expires_at,
            tools=declared,
        )
        try:
            control.tell(body)
        except RefusedError as exc:
            if exc.reason == Reason.KEY_TAKEN:
                raise RefusedError(_ended(folder, app), reason=exc.reason) from exc
            raise _outside_grant(control, "tool", app, exc) from exc
