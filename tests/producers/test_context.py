"""The context vault through the Python interface, on a real broker; and what a client refuses to believe of it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from producers.client import Client, RefusedError
from producers.client.vault import ValueTooLargeError, VaultRollbackError
from producers.home.heads import LogRollbackError, ScopeHeads
from streams.local.choose import BrokerInfo
from tests.installation import Installation
from tests.producers.workflow_bank import Bank, banking

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def running(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with banking(broker, tmp_path_factory.mktemp("home"), f"v{secrets.token_hex(4)}", Bank()) as here:
        yield here


@pytest.fixture(scope="module")
def payer(running: Installation) -> Iterator[Client]:
    with Client.connect(running.folder.tenant, "payer", home=running.home) as connected:
        yield connected


def test_two_writers_lose_nothing(running: Installation) -> None:
    """With compare-and-set each of 40 increments counts, whoever makes it."""

    def count(client: Client) -> None:
        done = 0
        for _ in range(400):
            if done == 20:
                return
            entry = client.context_entry("counter", scope="team")
            try:
                client.context_set("counter", (entry.value or 0) + 1, scope="team", expected=entry.version)
                done += 1
            except RefusedError as exc:
                if exc.reason != "VERSION_CONFLICT":
                    raise

    tenant, home = running.folder.tenant, running.home
    with (
        Client.connect(tenant, "payer", home=home) as one,
        Client.connect(tenant, "payer", home=home) as other,
        ThreadPoolExecutor(2) as pool,
    ):
        list(pool.map(count, (one, other)))

        assert one.context_get("counter", scope="team") == 40


def test_values_are_the_sessions_own(running: Installation) -> None:
    """Set, read, listed, deleted; another session of the same agent sees none of it."""
    tenant, home = running.folder.tenant, running.home
    with Client.connect(tenant, "payer", home=home) as one, Client.connect(tenant, "payer", home=home) as other:
        assert one.context_get("plan", "none") == "none"
        assert one.context_set("plan", {"steps": [1, 2.5, None]}, expected=0) == 1
        assert one.context_set("plan/b", "x", ttl_seconds=60) == 2
        assert one.context_list() == [("plan", 1), ("plan/b", 2)]
        assert one.context_list("plan/") == [("plan/b", 2)]
        assert one.context_get("plan") == {"steps": [1, 2.5, None]}
        assert other.context_get("plan") is None
        one.context_delete("plan", expected=1)

        assert one.context_list() == [("plan/b", 2)]
        with pytest.raises(RefusedError) as absent:
            one.context_delete("plan")
    assert absent.value.reason == "VAULT_ABSENT"


def test_a_list_has_as_many_pages_as_it_needs(running: Installation) -> None:
    """More keys than one page holds."""
    with Client.connect(running.folder.tenant, "payer", home=running.home) as client:
        names = [f"k{n:03}" for n in range(205)]
        with ThreadPoolExecutor(32) as pool:
            list(pool.map(lambda name: client.context_set(name, 1), names))

        assert [key for key, _ in client.context_list("k")] == names


def test_what_is_too_large_is_not_sent(payer: Client) -> None:
    """2 MB, and one byte too many, are named before anything is on the wire; the own scope takes a body."""
    for value in ("x" * 2_000_000, "x" * (64 * 1024 - 1)):
        with pytest.raises(ValueTooLargeError, match="the vault takes 65536"):
            payer.context_set("big", value, scope="team")
    with pytest.raises(ValueTooLargeError, match="the vault takes 67108864"):
        payer.context_set("big", "x" * (64 * 1024 * 1024))
    with pytest.raises(ValueTooLargeError, match="key"):
        payer.context_set("k" * 257, 1)

    assert payer.context_get("big") is None
    payer.context_set("big", "x" * (64 * 1024 - 2))


def test_a_shared_scope_is_what_policies_allow(running: Installation) -> None:
    """Nothing lets the clerk write there."""
    with Client.connect(running.folder.tenant, "clerk", home=running.home) as clerk:
        with pytest.raises(RefusedError) as refused:
            clerk.context_set("note", 1, scope="team")
        clerk.context_set("note", 1)

    assert refused.value.reason in {"RESOURCE_NOT_ALLOWED", "NO_POLICY"}


def heads() -> ScopeHeads:
    found = ScopeHeads(bytes(32))
    found.check("team", (5, b"e" * 32), index=50, floor=-1, change=None)
    return found


@pytest.mark.parametrize(
    ("n", "h", "index"),
    [(4, b"d" * 32, 60), (5, b"x" * 32, 60), (6, b"f" * 32, 40), (5, b"x" * 32, 40), (0, b"x" * 32, 60)],
)
def test_a_rollback_is_named(n: int, h: bytes, index: int) -> None:
    """Fewer changes later, more earlier, or another past."""
    with pytest.raises(VaultRollbackError):
        heads().check("team", (n, h), index=index, floor=-1, change=None)


def test_answers_may_be_judged_in_another_order_than_they_stand() -> None:
    """Fewer changes earlier in the log are no rollback; an answer from before it was asked for is one."""
    heads().check("team", (4, b"d" * 32), index=40, floor=-1, change=None)
    heads().check("team", (6, b"f" * 32), index=60, floor=50, change=None)
    heads().check("other", (0, bytes(32)), index=60, floor=50, change=None)

    with pytest.raises(VaultRollbackError, match="known before"):
        heads().check("team", (5, b"e" * 32), index=50, floor=50, change=None)


def test_a_change_of_ones_own_is_computed_again() -> None:
    """Whoever answers with another link has put something else into the chain."""
    with pytest.raises(VaultRollbackError, match="not the one that was sent"):
        heads().check("team", (6, b"f" * 32), index=60, floor=50, change=("key", b"l" * 32))
    with pytest.raises(VaultRollbackError, match="not the one that was sent"):
        heads().check("fresh", (1, b"f" * 32), index=60, floor=50, change=("key", b"l" * 32))


def test_what_was_seen_is_kept_beside_the_key_for_the_next_client(running: Installation) -> None:
    """For its owner only; the client that is started next begins with it, and so does one that is given it."""
    tenant, home = running.folder.tenant, running.home
    with Client.connect(tenant, "payer", home=home) as one:
        one.context_set("seen", 1, scope="team")
        seen = one.export_heads()
    path = running.folder.key_file("agent", "payer").with_suffix(".heads")
    assert path.stat().st_mode & 0o777 == 0o600

    with Client.connect(tenant, "payer", home=home) as next_one:
        next_one.import_heads(seen)
        assert next_one.export_heads()["scopes"]["team"]["n"] >= seen["scopes"]["team"]["n"]
        assert next_one.context_get("seen", scope="team") == 1
        path.write_text(path.read_text("utf-8").replace('"newest": ', '"newest": 9'), "utf-8")
    with Client.connect(tenant, "payer", home=home) as too_late, pytest.raises(LogRollbackError):
        too_late.context_get("seen", scope="team")
    path.unlink()
