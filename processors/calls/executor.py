"""The tool that executes a call: a registered one with all its instances, or one session that offers the operation."""

from __future__ import annotations

from typing import NamedTuple

from processors.effects import Recipients
from processors.identity import offers
from processors.identity.declarations import resource_row
from processors.identity.keys import live_keys
from processors.policy.patterns import resource_name
from processors.state.tables import Tables
from schemas.rows import OfferRow

AWAY = "the session that the call names does not offer this resource now; look up who does"


class Executor(NamedTuple):
    """The executor of a call, with the declaration of its operation. Without `recipients` none is there now.

    `target` is the session that executes; None for a registered tool, of which any instance may.
    """

    principal_id: str
    timeout_ms: int
    prompts: tuple[str, ...]
    recipients: Recipients
    body_paths: tuple[str, ...] = ()
    opaque_paths: tuple[str, ...] = ()
    maskable_paths: tuple[str, ...] = ()
    input_schema: str | None = None
    output_schema: str | None = None
    target: bytes | None = None
    owns: bool = True  # the name is the executor's: a session of a person or a workload offers any, and owns none

    def owner_beside(self, resource: str) -> str:
        """Return the owner's name where that of the resource does not lead to it, else an empty text."""
        return "" if resource_name(resource).app == self.principal_id else self.principal_id


def executor_of(tables: Tables, resource: str, target: bytes | None) -> Executor | None:
    """Return the executor of a call of `resource`, as its caller aims it; None if there is no such operation.

    A call that names a session goes to that session or nowhere. One without a target never goes to a session: its
    caller has not looked up the key that signs the result, and could not believe it.
    """
    if target is not None:
        row = offers.live_offer(tables, target)
        return None if row is None else _of_session(tables, row, target, resource)
    owned = resource_row(tables, resource)
    if owned is None:
        return None
    return Executor(
        principal_id=owned.principal_id,
        timeout_ms=owned.timeout_ms,
        prompts=owned.prompts,
        recipients=() if owned.by_sessions else live_keys(tables, owned.principal_id),
        body_paths=owned.body_paths,
        opaque_paths=owned.opaque_paths,
        maskable_paths=owned.maskable_paths,
        input_schema=owned.input_schema,
        output_schema=owned.output_schema,
    )


def _of_session(tables: Tables, row: OfferRow, session_id: bytes, resource: str) -> Executor | None:
    declared = offers.declared_by(row, resource)
    if declared is None:
        return None
    owned = resource_row(tables, resource)
    return Executor(
        principal_id=row.principal_id,
        timeout_ms=declared.timeout_ms,
        prompts=declared.prompts,
        recipients=((row.kid, row.x25519),),
        body_paths=declared.body_paths,
        opaque_paths=declared.opaque_paths,
        maskable_paths=declared.maskable_paths,
        input_schema=declared.input_schema,
        output_schema=declared.output_schema,
        target=session_id,
        owns=owned is not None and owned.principal_id == row.principal_id,
    )
