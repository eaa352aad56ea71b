"""Tables beneath the rules: what is derived from rows follows them, and what is remembered does not grow by itself."""

from dataclasses import replace
from typing import Any

from processors.state.journal import RowWrite
from processors.state.tables import Tables
from schemas.rows import AttestationRow, VaultRow


def tables() -> Tables:
    return Tables(tenant="acme", deployment="test", genesis=bytes(32))


ROW = AttestationRow(
    session_id=bytes(32), key="checked", setter="tool:a/b", by="a", value="true", position=1, set_at=0, max_uses=1000,
    one_time=False, uses=0, revoked=False, until=10_000,
)  # fmt: skip


def value(scope: str, key: str, text: str) -> VaultRow:
    return VaultRow(scope=scope, key=key, value=text, version=1, set_at=0, author="a", until=10_000)


def test_a_row_that_only_counts_on_is_remembered_once():
    """A thousand uses of one attestation leave one deadline, aborted ones too."""
    found = tables()
    found.attestations.put(b"a", ROW)
    found.commit()
    for uses in range(1000):
        found.attestations.put(b"a", replace(ROW, uses=uses))
        found.rollback() if uses % 2 else found.commit()

    assert len(found._deadlines) == 1
    assert found.next_deadline() == ROW.until


def test_a_deadline_that_moved_and_came_back_still_fires():
    """What an abort takes back is due when it was before."""
    found = tables()
    found.attestations.put(b"a", ROW)
    found.commit()
    found.attestations.put(b"a", replace(ROW, until=50_000))
    assert found.next_deadline() == 50_000
    found.rollback()
    found.now = ROW.until

    assert list(found.due()) == [("attestations", b"a")]


def test_what_is_moved_on_again_and_again_is_not_remembered_each_time():
    """Who logs in each day is due in a year, and no heap of all those days grows until then."""
    found = tables()
    for n in range(20_000):
        found.attestations.put(b"a", replace(ROW, until=1_000_000 + n))
        found.attestations.put(n.to_bytes(4, "big"), replace(ROW, until=n))
        if n >= 10:
            found.attestations.delete((n - 10).to_bytes(4, "big"))
        found.commit()

    assert len(found._deadlines) < 2 * 4096
    assert found.next_deadline() == 19_990
    found.now = 2_000_000
    due = [(n, n.to_bytes(4, "big")) for n in range(19_990, 20_000)]
    assert list(found.due()) == [*(("attestations", key) for _, key in due), ("attestations", b"a")]


def test_a_deadline_that_was_forgotten_comes_back_with_an_abort(monkeypatch):
    """What has not been committed has moved a row, removed one and made one, while old places are dropped."""
    monkeypatch.setattr("processors.state.tables._DEADLINES_SPARE", 0)
    found = tables()
    found.attestations.put(b"moved", ROW)
    found.attestations.put(b"removed", replace(ROW, until=20_000))
    found.prepare()
    found.attestations.put(b"moved", replace(ROW, until=50_000))
    found.attestations.delete(b"removed")
    found.attestations.put(b"made", replace(ROW, until=5_000))
    found.commit_prepared()
    assert sorted(found._deadlines) == [(5_000, "attestations", b"made"), (50_000, "attestations", b"moved")]
    found.rollback()
    found.now = 60_000

    assert list(found.due()) == [("attestations", b"moved"), ("attestations", b"removed")]


def test_groups_and_weight_follow_every_write_and_every_undoing():
    """Keys of a group are in order; a row that changes its group leaves the old one."""
    found = tables()
    for key in (b"3", b"1", b"2"):
        found.vault.put(key, value("s", key.decode(), "x" * 10))
    found.commit()
    assert list(found.vault.of("s")) == [b"1", b"2", b"3"]
    found.vault.put(b"2", value("t", "2", "x" * 7))
    found.vault.delete(b"1")
    assert (list(found.vault.of("s")), list(found.vault.of("t")), found.vault.weight) == ([b"3"], [b"2"], 17)
    found.rollback()

    assert (list(found.vault.of("s")), list(found.vault.of("t")), found.vault.weight) == ([b"1", b"2", b"3"], [], 30)


def test_writes_come_newest_first_each_with_the_entry_of_its_record():
    """A committed transaction leaves none behind, also where later records were folded on top of it."""
    found = tables()
    found.vault.put(b"a", value("s", "a", "1"))
    found.vault.put(b"a", value("s", "a", "2"))
    found.attestations.put(b"x", ROW)
    found.end_record(b"leaf-0")
    found.end_record(b"leaf-1")  # it wrote nothing
    found.prepare()
    found.now = 7
    found.vault.put(b"a", value("s", "a", "3"))
    found.vault.delete(b"a")
    found.end_record(b"leaf-2")

    def told(since: int | None = None) -> list[tuple[Any, ...]]:
        texts = [(one.before and one.before.value, one.after and one.after.value) for one in writes(since)]
        return [(*text, one.audit_index, one.at) for text, one in zip(texts, writes(since), strict=True)]

    def writes(since: int | None) -> list[RowWrite]:
        return list(found.writes({"vault"}, since))

    later = [("3", None, 2, 7), ("2", "3", 2, 7)]
    assert told() == later
    assert told(since=0) == [*later, ("1", "2", 0, 0), (None, "1", 0, 0)]
    found.commit_prepared()
    assert told() == told(since=0) == later
    found.rollback()
    assert told() == []


def test_a_write_that_was_undone_is_not_among_the_writes():
    found = tables()
    found.end_record(b"leaf-0")
    mark = found.savepoint()
    found.vault.put(b"a", value("s", "a", "1"))
    found.end_record(b"leaf-1")
    found.undo_to(mark)
    found.vault.put(b"b", value("s", "b", "2"))
    found.end_record(b"leaf-2")

    assert [(one.key, one.audit_index) for one in found.writes({"vault"})] == [(b"b", 2)]
