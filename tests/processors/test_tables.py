"""Tables beneath the rules: what is derived from rows follows them, and what is remembered does not grow by itself."""

from dataclasses import replace

from processors.tables import Tables
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
