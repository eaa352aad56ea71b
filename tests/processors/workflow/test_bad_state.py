"""What nobody may do to memory: refused by its own reason each, with an entry, and nothing changed."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from processors.state.bounds import TenantLimits
from processors.state.tables import Tables
from schemas import codec, limits
from schemas.events.workflow import (
    ContextDeleted,
    ContextListed,
    ContextRead,
    ContextWritten,
)
from streams.history.state_rows import row_key
from streams.worker.state_head import StateMac
from tests.workflow_world import ANYTHING, Workflow, reply


@pytest.fixture
def world() -> Workflow:
    world = Workflow.opened()
    world.publish_policy({"policy_id": "role:payer", **ANYTHING})
    return world


# ---- the vault


def written(**other: Any) -> ContextWritten:
    return ContextWritten(**{"scope": "session", "key": "k", "value": "1", **other})


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (written(value=json.dumps("x" * 65 * 1024)), "VALUE_TOO_LARGE"),
        (written(value=json.dumps("x" * (limits.VAULT_VALUE_BYTES_MAX - 1))), "VALUE_TOO_LARGE"),
        (written(value=json.dumps("é" * 33_000, ensure_ascii=False)), "VALUE_TOO_LARGE"),
        (written(value="{"), "VAULT_FORM"),
        (written(value=""), "VAULT_FORM"),
        (written(value='{"a":1,"a":2}'), "VAULT_FORM"),
        (written(value="[1e999]"), "VAULT_FORM"),
        (written(key=""), "VAULT_FORM"),
        (written(key="x" * 257), "VAULT_FORM"),
        (written(key="é" * 129), "VAULT_FORM"),
        (written(key="a\nb"), "VAULT_FORM"),
        (written(key="a\u202eb"), "VAULT_FORM"),
        (written(ttl_ms=0), "VAULT_FORM"),
        (written(ttl_ms=-1), "VAULT_FORM"),
        (written(ttl_ms=limits.VAULT_TTL_MS_MAX + 1), "VAULT_FORM"),
        (written(expected=1), "VERSION_CONFLICT"),
        (written(expected=-1), "VERSION_CONFLICT"),
        (written(scope=""), "VAULT_FORM"),
        (written(scope="Team"), "VAULT_FORM"),
        (written(scope="a/b"), "VAULT_FORM"),
        (written(scope="session:" + "0" * 64), "VAULT_FORM"),
        (written(scope="x" * 65), "VAULT_FORM"),
        (written(key="../other"), "RESOURCE_INVALID"),
        (written(key="a%2fb"), "RESOURCE_INVALID"),
        (written(key="*"), "RESOURCE_INVALID"),
        (ContextRead(scope="session", key=""), "VAULT_FORM"),
        (ContextRead(scope="session", key="x" * 257), "VAULT_FORM"),
        (ContextDeleted(scope="session", key="k"), "VAULT_ABSENT"),
        (ContextDeleted(scope="session", key="k", expected=3), "VERSION_CONFLICT"),
        (ContextListed(scope="session", prefix="", after="", limit=0), "VAULT_FORM"),
        (ContextListed(scope="session", prefix="", after="", limit=101), "VAULT_FORM"),
        (ContextListed(scope="session", prefix="x" * 257, after="", limit=1), "VAULT_FORM"),
        (ContextListed(scope="session", prefix="", after="\x00", limit=1), "VAULT_FORM"),
    ],
)  # fmt: skip
def test_a_bad_operation_is_refused_by_its_own_reason(world, body, reason):
    """Sizes, forms, versions and names."""
    world.refuses(reason, body, world.bot)


def test_a_value_of_exactly_64_kib_is_taken(world):
    """The bound is what it says."""
    assert world.put(world.bot, "k", "x" * (limits.VAULT_VALUE_BYTES_MAX - 2)).says == ("accepted", "")


def test_nobody_writes_as_somebody_else(world):
    """A forged principal, a forged session, and a signature that is not the session's: none of them is heard."""
    other = world.open_session(world.register("agent", "other"))
    world.is_refused("WRONG_PRINCIPAL", lambda: world.send(written(), other, principal_id="bot"))
    world.is_refused("WRONG_PRINCIPAL", lambda: world.send(written(), other, session_id=world.bot.kid))
    draft = world.draft(written(), world.bot)
    (headers,) = world.sign([draft], other)
    stolen = [(name, world.bot.kid if name == "macaw-kid" else value) for name, value in headers]
    folded = world.nothing_changes(lambda: world.fold(draft.value, stolen))

    assert folded.says == ("refused", "BAD_SIGNATURE")
    for by in (world.agent, world.bank, world.admin):
        world.refuses("WRONG_ROLE", written(), by)


def test_an_old_write_cannot_be_played_again(world):
    """A rollback by replay: the signed bytes of an earlier value are a duplicate, or out of order."""
    first, second = world.put(world.bot, "k", "old"), world.put(world.bot, "k", "new")
    for old, reason in ((second, "DUPLICATE"), (first, "REPLAYED")):
        again = world.nothing_changes(lambda old=old: world.fold(old.received.value, old.received.headers))
        assert again.says == ("refused", reason)

    assert reply(world.get(world.bot, "k"))["value"] == "new"


def test_what_needs_people_is_not_asked_of_them_for_memory(world):
    """A vault operation does not wait: APPROVAL_REQUIRED, and nothing is opened."""
    world.publish_policy({"policy_id": "agent:bot", **ANYTHING, "constraints": {"require_approval": True}})

    world.is_refused("APPROVAL_REQUIRED", lambda: world.put(world.bot, "k", 1, "team"))
    assert len(world.tables.requests) == 0


@pytest.mark.parametrize("bound", ["vault_keys", "vault_bytes"])
def test_the_vault_is_bounded(bound):
    """Keys and bytes of the tenant; what is over is refused whole: no row, no link of the chain."""
    world = Workflow.opened("small")
    world.put(world.bot, "a", "x")
    most = 8 if bound == "vault_keys" else world.tables.vault.weight * 10  # a quarter of it has room for two
    world = Workflow.opened("small", bounds=TenantLimits(**{bound: most}))
    other = world.open_session(world.agent)
    world.put(world.bot, "a", "x")
    world.put(world.bot, "b", "x")

    world.is_refused("LIMIT_EXCEEDED", lambda: world.put(world.bot, "c", "x"))
    world.is_refused("LIMIT_EXCEEDED", lambda: world.put(other, "c", "x"))
    assert reply(world.drop(world.bot, "a"))["n"] == 3
    assert world.put(world.bot, "c", "x").says == ("accepted", "")


# ---- an edited changelog


def value_changed(tables: Tables) -> tuple[str, bytes, Any]:
    key = next(iter(tables.vault.rows))
    return "vault", key, replace(tables.vault.rows[key], value='"forged"')


def author_changed(tables: Tables) -> tuple[str, bytes, Any]:
    key = next(iter(tables.vault.rows))
    return "vault", key, replace(tables.vault.rows[key], author="somebody")


def key_deleted(tables: Tables) -> tuple[str, bytes, Any]:
    return "vault", next(iter(tables.vault.rows)), None


def keys_swapped(tables: Tables) -> tuple[str, bytes, Any]:
    first, second = list(tables.vault.rows)[:2]
    return "vault", first, tables.vault.rows[second]


def key_inserted(tables: Tables) -> tuple[str, bytes, Any]:
    key = next(iter(tables.vault.rows))
    return "vault", key + b"x", tables.vault.rows[key]


def chain_rolled_back(tables: Tables) -> tuple[str, bytes, Any]:
    key, row = next(iter(tables.scopes.rows.items()))
    return "scopes", key, replace(row, n=row.n - 1)


def use_given_back(tables: Tables) -> tuple[str, bytes, Any]:
    key, row = next(iter(tables.grants.rows.items()))
    return "grants", key, replace(row, uses=0)


def approval_added(tables: Tables) -> tuple[str, bytes, Any]:
    key, row = next((key, row) for key, row in tables.requests.rows.items() if not row.closed)
    given = next(iter(tables.grants.rows.values())).approvals
    return "requests", key, replace(row, approvals=given)


def delegation_revived(tables: Tables) -> tuple[str, bytes, Any]:
    key, row = next(iter(tables.delegations.rows.items()))
    return "delegations", key, replace(row, revoked=False)


EDITS = (
    value_changed, author_changed, key_deleted, keys_swapped, key_inserted, chain_rolled_back, use_given_back,
    approval_added, delegation_revived,
)  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_changelog_does_not_fit_its_head(world, edit: Callable[[Tables], tuple[str, bytes, Any]]):
    """Every row of workflow state is under the head: a change of one, and a restart throws the changelog away."""
    world.put(world.bot, "a", 1)
    world.put(world.bot, "b", 2)
    world.require("boss", approval_criteria="role:manager", timeout=300, max_uses=2)
    carol = world.person("carol", "manager")
    world.approve(carol, world.pay(), "boss")
    world.pay()
    assert world.pay().says[0] == "pending"
    world.revoke_delegation(carol, world.grant_to(carol, "bot").entry.event)
    mac = StateMac(bytes(range(32)))
    stored = {key: value for _, _, key, value in mac.rows_of(world.tables) if value is not None and key != b"head"}
    head = mac.head(world.tables.next_index - 1, world.tables.prev)

    def restored(rows: dict[bytes, bytes]) -> StateMac:
        again = StateMac(bytes(range(32)))
        for key, value in rows.items():
            again.restore(key, value)
        return again

    assert restored(stored).matches(head, world.tables.prev)
    table, key, row = edit(world.tables)
    edited = {**stored, row_key(table, key): b"" if row is None else codec.frame(row)}
    if row is None:
        del edited[row_key(table, key)]
    assert edited != stored
    assert not restored(edited).matches(head, world.tables.prev)
