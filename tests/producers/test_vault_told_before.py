"""A monitor that tells of the vault what it has told otherwise before."""

from __future__ import annotations

import pytest

from producers.client.vault import VaultForgedError, VaultRollbackError
from producers.kafka.outcomes import MalformedReplyError
from schemas.events.workflow import ContextWritten
from tests.producers.test_vault_proof import Scene, Told, staged
from tests.workflow_world import Workflow

__all__ = ["staged"]  # the fixture


def test_an_older_value_is_not_told_after_a_newer_one() -> None:
    """The older one was signed too: what was told since says that it is over."""
    world = Workflow.opened("older")
    world.put(world.bot, "limit", "old", scope="team")
    scene = Scene(world, world.bot)
    old: Told = scene.told()
    world.put(world.bot, "limit", "new", scope="team")
    lie: list[Told] = [{}]
    vault = scene.vault(lambda told: {**told, **lie[0]})
    assert vault.entry("limit", scope="team").value == "new"

    lie[0] = {name: old[name] for name in ("value", "version", "written", "before")}
    with pytest.raises(VaultRollbackError, match="VAULT_ROLLBACK"):
        vault.entry("limit", scope="team")
    lie[0] = {name: old[name] for name in ("value", "written", "before")}
    with pytest.raises(VaultForgedError, match="chain"):
        vault.entry("limit", scope="team")


def test_a_version_that_was_told_is_not_told_otherwise_later(staged: Scene) -> None:
    """A write that the log has refused is signed too: in the place of one that was read it is another past."""
    lie: list[Told] = [{}]
    vault = staged.vault(lambda told: {**told, **lie[0]})
    assert vault.entry("limit", scope="team").value == 100
    assert vault.entry("limit", scope="team").value == 100

    refused = staged.signed(ContextWritten(scope="team", key="limit", value="5"), staged.carol)
    lie[0] = {"value": 5, "written": refused}
    with pytest.raises(VaultRollbackError, match="two links"):
        vault.entry("limit", scope="team")


def test_what_this_client_has_deleted_or_written_does_not_come_back() -> None:
    """Its own change is known without any other answer."""
    world = Workflow.opened("back")
    lie: list[Told] = [{}]
    vault = Scene(world, world.bot).vault(lambda told: {**told, **lie[0]})
    vault.set("limit", 1, scope="team", ttl_ms=None, expected=None)
    old: Told = Scene(world, world.bot).told()
    vault.set("pad", 1, scope="team", ttl_ms=None, expected=None)
    vault.delete("limit", scope="team", expected=None)
    assert vault.entry("limit", scope="team").version == 0

    lie[0] = {name: old[name] for name in ("value", "version", "author", "written", "opened", "before")}
    with pytest.raises(VaultRollbackError):
        vault.entry("limit", scope="team")
    lie[0] = {}
    vault.set("limit", 2, scope="team", ttl_ms=None, expected=0)
    assert vault.entry("limit", scope="team").value == 2


def test_a_page_holds_what_was_asked_for_in_order_and_nothing_older(staged: Scene) -> None:
    """A list is the monitor's word, but it cannot contradict itself, nor what was told of a key."""
    row = {"key": "limit", "version": 1}
    lies = [
        [{"key": "another", "version": 1}],
        [{"key": "limit", "version": 0}],
        [{"key": "limit", "version": 99}],
        [row, row],
        [{"key": 7, "version": 1}],
        ["limit"],
    ]
    assert staged.vault().keys("li", scope="team") == [("limit", 1)]
    for page in lies:
        with pytest.raises(MalformedReplyError):
            staged.vault(lambda told, page=page: {**told, "keys": page}).keys("li", scope="team")
