"""Delegations from a client's side. The id of one is the hex digest of the event that granted it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from processors.policy.delegation import parse_scope
from processors.proof import jcs
from producers.client.inputs import digest_of
from producers.kafka.connection import Connection, rows_in


def delegation_id(text: str) -> bytes:
    """Return the bytes of a delegation's id. Raises MalformedIdError."""
    return digest_of(text, "a delegation's id")


def scope_text(resources: Sequence[str], operations: Sequence[str], conditions: Mapping[str, Any] | None) -> str:
    """Return a scope as canonical JSON. Raises PolicyError where the log would refuse it."""
    scope: dict[str, Any] = {}
    if resources:
        scope["resources"] = list(resources)
    if operations:
        scope["operations"] = list(operations)
    if conditions:
        scope["conditions"] = dict(conditions)
    text = jcs.canonical(scope)
    parse_scope(text)
    return text.decode()


def list_delegations(connection: Connection) -> dict[str, list[dict[str, Any]]]:
    """Return all delegations that the principal has `granted` and `received`. Raises as `Connection.query`."""
    pages = connection.pages("delegations")
    return {name: rows_in(pages, name) for name in ("granted", "received")}
