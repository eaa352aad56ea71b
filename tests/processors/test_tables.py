"""Tables beneath the rules: what is derived from rows follows them, and what is remembered does not grow by itself."""

from dataclasses import replace

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
