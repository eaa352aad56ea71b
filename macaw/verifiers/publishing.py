"""Catalogues of a tenant as its log has them: shown, replaced and withdrawn by an administrator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from macaw.verifiers.fitting import CatalogueDraft
from producers.kafka.connection import Connection
from schemas.errors import InputError
from schemas.events.catalogues import CataloguePublished, CatalogueWithdrawn


class CatalogueUnknownError(InputError):
    """The tenant has no catalogue of this name."""


class CatalogueInForce(NamedTuple):
    """A catalogue in force: `rules` counts them, `since` is log time in ms."""

    name: str
    verifier: str
    rules: int
    digest: bytes
    since: int


class CatalogueChanges(NamedTuple):
    """The names of catalogues that an import published, found in force already, and withdrew."""

    published: tuple[str, ...]
    kept: tuple[str, ...]
    withdrawn: tuple[str, ...]


def catalogues_of(connection: Connection) -> list[CatalogueInForce]:
    """Return the catalogues in force, in the order of names. Raises as `Connection.query`."""
    return [
        CatalogueInForce(one["name"], one["verifier"], one["rules"], bytes.fromhex(one["digest"]), one["since"])
        for one in connection.query("catalogues")["catalogues"]
    ]


def publish_drafts(
    connection: Connection, name: str, drafts: Sequence[CatalogueDraft], reason: str
) -> CatalogueChanges:
    """Put catalogues into force, all that have changed, and withdraw parts of `name` that are not among them.

    Each is an event of its own. After an error those before it are in force; the same call again goes on. Raises as
    `Connection.ask`.
    """
    before = {one.name: one for one in catalogues_of(connection)}
    published, kept, withdrawn = [], [], []
    for draft in drafts:
        old = before.get(draft.name)
        if old is not None and old.digest == draft.digest:
            kept.append(draft.name)
            continue
        previous = None if old is None else old.digest
        connection.ask(
            CataloguePublished(
                name=draft.name, verifier=draft.verifier, rules=draft.rules, previous=previous, reason=reason
            )
        )
        published.append(draft.name)
    for one in _others(before, name, drafts):
        connection.ask(CatalogueWithdrawn(name=one.name, previous=one.digest))
        withdrawn.append(one.name)
    return CatalogueChanges(tuple(published), tuple(kept), tuple(withdrawn))


def withdraw_catalogue(connection: Connection, name: str) -> tuple[str, ...]:
    """Withdraw a catalogue, or all parts of it, and return their names.

    Raises:
        CatalogueUnknownError: there is none. Raises also as `Connection.ask`.
    """
    before = {one.name: one for one in catalogues_of(connection)}
    found = _others(before, name, ())
    if not found:
        there = ", ".join(before) or "no catalogue"
        raise CatalogueUnknownError(f"the tenant has no catalogue {name[:60]!r}; it has {there}")
    for one in found:
        connection.ask(CatalogueWithdrawn(name=one.name, previous=one.digest))
    return tuple(one.name for one in found)


def _others(before: dict[str, CatalogueInForce], name: str, drafts: Sequence[CatalogueDraft]) -> list[CatalogueInForce]:
    """Return the catalogue of a name and its parts, without those that are drafts."""
    new = {one.name for one in drafts}
    return [
        one for one in before.values() if one.name not in new and (one.name == name or one.name.startswith(f"{name}/"))
    ]
