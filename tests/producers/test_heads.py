"""What a client has seen outlives it: a log that was set back to an earlier day is noticed after a restart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.client.vault import ContextVault
from producers.home import heads as kept_heads
from producers.home.heads import HeadsError, HeadsFile, LogRollbackError, ScopeHeads, VaultRollbackError
from tests.producers.asking import Asking
from tests.producers.forging import TwinRegistry
from tests.producers.test_vault_proof import Scene
from tests.workflow_world import Workflow

GENESIS = b"g" * 32


def client_of(world: Workflow, path: Path | None = None) -> ContextVault:
    """Return the vault of a client that has just been started."""
    vault = ContextVault(Asking(world, world.bot, registry=TwinRegistry(Scene(world, world.bot))))
    vault.keep_heads(path)
    return vault


def day(writes: int) -> Workflow:
    """Return the same log after so many writes to a shared scope: of fewer writes it is a copy of an earlier day."""
    world = Workflow.opened("days")
    for n in range(writes):
        world.put(world.bot, f"key-{n}", n, scope="team")
    return world


def test_a_log_that_was_set_back_is_noticed_after_a_restart(tmp_path: Path) -> None:
    """The client of yesterday is gone; the one of today reads what it left."""
    path = tmp_path / "bot.heads"
    before = client_of(day(5), path)
    assert before.entry("key-4", scope="team").value == 4
    before.save_heads()
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == [path.name]

    with pytest.raises(VaultRollbackError, match="VAULT_ROLLBACK"):
        client_of(day(3), path).entry("key-2", scope="team")
    assert client_of(day(3)).entry("key-2", scope="team").value == 2
    assert client_of(day(6), path).entry("key-5", scope="team").value == 5


def test_a_log_that_was_set_back_and_grew_again_is_noticed(tmp_path: Path) -> None:
    """Later in the log than all that was seen, with fewer changes, or others, of the scope."""
    path = tmp_path / "bot.heads"
    before = client_of(day(5), path)
    before.entry("key-4", scope="team")
    before.save_heads()
    fewer, other = day(3), day(3)
    for _ in range(20):
        fewer.pay()
    for n in range(2):
        other.put(other.bot, "other", n, scope="team")
    for _ in range(20):
        other.pay()

    for world in (fewer, other):
        with pytest.raises(VaultRollbackError):
            client_of(world, path).entry("key-2", scope="team")


def test_heads_can_be_carried_elsewhere() -> None:
    """As plain JSON, over a public way, and added to what was seen there."""
    first = client_of(day(5))
    first.entry("key-4", scope="team")
    exported = json.loads(json.dumps(first.heads.export()))
    elsewhere = client_of(day(3))
    elsewhere.heads.take(exported)

    with pytest.raises(VaultRollbackError):
        elsewhere.entry("key-2", scope="team")
    with pytest.raises(HeadsError, match="another founding"):
        ScopeHeads(GENESIS).take(exported)


def test_contradictions_between_two_clients_are_told_and_nothing_is_taken() -> None:
    """Each was shown another past: the monitor has two."""
    mine, theirs = ScopeHeads(GENESIS), ScopeHeads(GENESIS)
    mine.check("team", (5, b"a" * 32), index=50, floor=-1, change=None)
    theirs.check("team", (5, b"b" * 32), index=60, floor=-1, change=None)
    theirs.check("fine", (1, b"c" * 32), index=61, floor=-1, change=None)
    before = mine.export()

    with pytest.raises(VaultRollbackError, match="two monitors answer"):
        mine.take(theirs.export())
    assert mine.export() == before


@given(
    st.lists(
        st.tuples(st.sampled_from(["team", "else", "session:mine", "session:theirs"]), st.integers(0, 3)), max_size=40
    )
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_what_is_exported_and_taken_again_is_what_was_seen(steps: list[tuple[str, int]]) -> None:
    """An honest log never contradicts itself, and an export holds all of it but other sessions' own scopes."""
    seen, chains, index = ScopeHeads(GENESIS), dict[str, int](), 0
    for scope, changes in steps:
        index += 1
        n = chains[scope] = chains.get(scope, 0) + changes
        seen.check(scope, (n, n.to_bytes(32, "big")), index=index, floor=index - 1, change=None)
    again = ScopeHeads(GENESIS)
    again.take(json.loads(json.dumps(seen.export(own="session:mine"))))

    assert again.floor() == seen.floor() == (index or -1)
    assert again.export(own="session:mine") == seen.export(own="session:mine")
    assert set(again.export(own="session:mine")["scopes"]) == set(chains) - {"session:theirs"}


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scopes that were heard of last stay; how far the log had come stays in any case."""
    monkeypatch.setattr(kept_heads, "SCOPES_MAX", 3)
    monkeypatch.setattr(kept_heads, "VERSIONS_MAX", 3)
    seen = ScopeHeads(GENESIS)
    for at in range(9):
        seen.check(f"s{at}", (0, bytes(32)), index=at, floor=at - 1, change=None)
        seen.note_version("team", f"k{at}", at, index=at)

    assert list(seen.export()["scopes"]) == ["s6", "s7", "s8"]
    assert seen.floor() == 8
    for forgotten in range(1, 6):
        seen.check_version("team", f"k{forgotten}", forgotten - 1 or 1, index=99)
    seen.note_version("team", "k6", 6, index=9)
    seen.note_version("team", "k9", 9, index=9)
    for kept in ("k6", "k8", "k9"):
        with pytest.raises(VaultRollbackError):
            seen.check_version("team", kept, 3, index=99)
    seen.check_version("team", "k7", 3, index=99)
    seen.check("s6", (0, bytes(32)), index=9, floor=8, change=None)
    seen.check("s9", (0, bytes(32)), index=10, floor=9, change=None)
    assert list(seen.export()["scopes"]) == ["s8", "s6", "s9"]


def test_a_version_may_be_told_late_but_not_lower_later() -> None:
    """Answers are judged in any order: what stands earlier in the log may be older."""
    seen = ScopeHeads(GENESIS)
    seen.note_version("team", "k8", 8, index=50)
    seen.note_version("team", "k8", 5, index=40)
    seen.check_version("team", "k8", 5, index=40)
    seen.check_version("team", "k8", 5, index=50)
    seen.check_version("team", "k8", 8, index=51)
    with pytest.raises(VaultRollbackError):
        seen.check_version("team", "k8", 3, index=99)


GOOD: dict[str, Any] = {"format": kept_heads.FORMAT, "genesis": GENESIS.hex(), "newest": 3, "scopes": {}}
HEAD: dict[str, Any] = {"at": 1, "n": 1, "h": "00" * 32}
BAD: list[Any] = [
    *("", "{", "[]", "null", "7", '{"a":' * 9999),
    *({**GOOD, **change} for change in ({"format": "x"}, {"newest": "3"}, {"newest": -2}, {"newest": 2**64})),
    *({**GOOD, "newest": change} for change in (True, 1.0, None)),
    *({**GOOD, "scopes": change} for change in ([], None, {"team": 1}, {"team": {}})),
    *(
        {**GOOD, "scopes": {"team": {**HEAD, **change}}}
        for change in ({"h": "0"}, {"n": -1}, {"at": True}, {"n": None})
    ),
]


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
def test_a_file_that_nobody_wrote_so_is_named_and_not_passed_over(tmp_path: Path, bad: Any) -> None:
    """Or who wants a rollback believed would spoil the file."""
    path = tmp_path / "bot.heads"
    path.write_text(bad if isinstance(bad, str) else json.dumps({**bad, "genesis": bad.get("genesis")}), "utf-8")
    with pytest.raises(HeadsError, match=r"bot\.heads is damaged"):
        HeadsFile(path, ScopeHeads(GENESIS))


def test_a_file_of_another_founding_counts_for_nothing(tmp_path: Path) -> None:
    """The tenant was founded anew: what was seen before was another log."""
    path = tmp_path / "bot.heads"
    old = ScopeHeads(b"o" * 32)
    old.check("team", (5, b"a" * 32), index=50, floor=-1, change=None)
    HeadsFile(path, old).save()
    new = ScopeHeads(GENESIS)
    file = HeadsFile(path, new)
    assert new.floor() == -1
    new.heard(3)
    file.save()

    assert json.loads(path.read_text("utf-8"))["genesis"] == GENESIS.hex()


def test_two_clients_with_one_file_keep_what_either_has_seen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And tell when they were shown different pasts; at the end of a client that is no reason to lose its result."""
    path = tmp_path / "bot.heads"
    one, other, liar = (ScopeHeads(GENESIS) for _ in range(3))
    files = [HeadsFile(path, heads) for heads in (one, other, liar)]
    one.check("a", (1, b"a" * 32), index=10, floor=-1, change=None)
    other.check("b", (2, b"b" * 32), index=20, floor=-1, change=None)
    liar.check("b", (2, b"c" * 32), index=30, floor=-1, change=None)
    files[0].save()
    files[1].save()

    kept = path.read_text("utf-8")
    assert json.loads(kept)["scopes"].keys() == {"a", "b"}
    with pytest.raises(VaultRollbackError):
        files[2].changed()
    files[2].save()
    assert "two monitors answer" in caplog.text
    assert path.read_text("utf-8") == kept


def test_a_disk_that_refuses_is_told_of_and_loses_no_result(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What the client was asked for has been done."""
    folder = tmp_path / "home"
    folder.mkdir()
    heads = ScopeHeads(GENESIS)
    file = HeadsFile(folder / "bot.heads", heads)
    heads.heard(1)
    folder.rename(tmp_path / "gone")
    file.changed()
    file.save()

    assert caplog.text.count("cannot be written (No such file or directory)") == 2


def test_nothing_is_written_where_nothing_was_seen(tmp_path: Path) -> None:
    """No file for who never had an answer."""
    HeadsFile(tmp_path / "bot.heads", ScopeHeads(GENESIS)).save()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A client may run where its key is only mounted: it notices less, and says so."""
    heads = ScopeHeads(GENESIS)
    file = HeadsFile(tmp_path / "absent" / "bot.heads", heads)
    heads.heard(1)
    file.save()
    file.changed()

    assert "cannot be written" in caplog.text
    assert issubclass(VaultRollbackError, LogRollbackError)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """It is not passed over: a client would begin as if it had seen nothing."""
    (tmp_path / "bot.heads").mkdir()
    with pytest.raises(HeadsError, match=r"cannot read .*bot\.heads: Is a directory"):
        HeadsFile(tmp_path / "bot.heads", ScopeHeads(GENESIS))
