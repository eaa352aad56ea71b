"""Registering an instance of a tool, and the operations that it declares."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import closing

from processors.identity.declarations import contract
from producers.home.home import Home, HomeError, TenantHome
from producers.home.keys import KeyPair
from producers.kafka.connection import Connection
from producers.kafka.outcomes import RefusedError
from producers.kafka.registering import attributes_with_grant, outside_grant, registrar
from producers.kafka.registry_view import RegistryView
from producers.tools.declaring import ToolFunction
from schemas.events.attributes import NONE
from schemas.events.tools import ToolDeclaration
from schemas.reasons import Reason
from schemas.records import PrincipalRegistered
from schemas.rows import KeyRow
from schemas.words import Role

log = logging.getLogger(__name__)


def tool_key(folder: TenantHome, app: str) -> KeyPair:
    """Return this instance's key of a tool, made on first use."""
    path = folder.key_file("tool", app)
    return folder.keys.load(path) if path.exists() else folder.keys.create(path, "tool")


def declared_by(app: str, tools: Sequence[ToolFunction]) -> tuple[ToolDeclaration, ...]:
    """Return the declarations of an app's functions."""
    return tuple(
        ToolDeclaration(
            resource=f"tool:{app}/{t.name}",
            description=t.description,
            timeout_ms=int(t.timeout_seconds * 1000),
            idempotent=t.idempotent,
            attests=t.attests,
            prompts=t.prompts,
            body_paths=t.body_paths,
            opaque_paths=t.opaque_paths,
            maskable_paths=t.maskable,
            streams=t.streams,
            input_schema=t.input_schema,
            output_schema=t.output_schema,
        )
        for t in tools
    )


def register_tool(home: Home, folder: TenantHome, app: str, tools: Sequence[ToolFunction]) -> KeyPair:
    """Register this instance of a tool, or its new declarations, unless they are on the log already; return its key.

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
    """Return the row of an instance's key, None if it is not live, and the operations that live instances offer."""
    with closing(RegistryView.of(home, folder)) as view:
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
    """Check that operations of live instances do not change, and warn of missing ones. Raises RefusedError."""
    changed = [one.resource for one in declared if one.resource in offered and _differs(one, offered[one.resource])]
    missing = sorted(offered.keys() - {one.resource for one in declared})
    new = [one.resource for one in declared if one.resource not in offered]
    if changed or (missing and new):
        what = f"changes {', '.join(changed)}" if changed else f"has {', '.join(new)} but lacks {', '.join(missing)}"
        raise RefusedError(
            f"{app} {what}, and live instances keep their declarations: operations may be added, not changed; where "
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
    with Connection.registered(home, folder, by.key, by.principal_id) as connection:
        body = PrincipalRegistered(
            role=Role.TOOL,
            key=key.offer(Role.TOOL, app, folder.genesis),
            attributes=attributes_with_grant(connection, NONE) if row is None else row.attributes,
            expires_at=None if row is None else row.expires_at,
            tools=declared,
        )
        try:
            connection.ask(body)
        except RefusedError as exc:
            if exc.reason == Reason.KEY_TAKEN:
                raise RefusedError(_ended(folder, app), reason=exc.reason) from exc
            raise outside_grant(connection, "tool", app, exc) from exc
