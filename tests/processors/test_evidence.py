"""What a stranger sees in a folder of evidence: one named verdict for each thing that can be wrong, and never a yes."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from processors.evidence.folder_format import (
    DATA_FILES,
    ENTRIES,
    EVENTS,
    MANIFEST,
    PROOFS,
    REGISTRY,
    RegistryEvent,
    schema_file,
)
from processors.evidence.verdict import VerdictCode
from processors.proof import merkle
from schemas import codec
from schemas.records import AuditEntry
from tests.reference.folder_changes import (
    AUDIT_SCHEMA,
    CALL,
    FOLDER,
    LAST,
    LOG,
    REFUSED,
    Change,
    appended,
    bit_in,
    cut,
    double,
    drop,
    everywhere,
    items,
    judge,
    registry,
    rewritten,
    said,
    signed_event,
    swap,
)
from tests.reference.log_builder import FolderInMemory, SmallLog, leaf_of


def test_a_whole_log_is_unwitnessed_and_its_root_is_that_of_its_entries() -> None:
    """The most that files alone can show."""
    verdict = judge(FOLDER)

    assert (verdict.code, verdict.index) == (VerdictCode.UNWITNESSED, None)
    assert verdict.size == LAST + 1
    assert verdict.root == merkle.root([merkle.leaf_hash(entry) for entry in FOLDER.items(ENTRIES)])
    assert verdict.events_absent == 0


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_the_verdict_does_not_depend_on_how_the_bytes_arrive(chunk: int) -> None:
    """Pieces may end anywhere, also inside a length."""
    assert judge(FolderInMemory(FOLDER.files, chunk)) == judge(FOLDER)


FIELDS_OF_A_MIDDLE_ENTRY = [
    ("origin", "test/acmf", "SPLICE", CALL),
    ("index", CALL + 1, "GAP", CALL),
    ("index", CALL - 1, "BAD_LINK", CALL),
    ("index", -1, "BAD_LINK", CALL),
    ("prev", bytes(32), "BAD_LINK", CALL),
    ("now", LOG.entries[CALL].now + 1, "BAD_LINK", CALL + 1),
    ("partition", 1, "BAD_LINK", CALL + 1),
    ("offset", 999, "BAD_LINK", CALL + 1),
    ("event", bytes(32), "BAD_LINK", CALL + 1),
    ("event_kid", None, "BAD_LINK", CALL + 1),
    ("event_id", bytes(16), "BAD_LINK", CALL + 1),
    ("kind", "ClockTicked", "BAD_LINK", CALL + 1),
    ("outcome", "denied", "BAD_LINK", CALL + 1),
    ("reason", "NO_POLICY", "BAD_LINK", CALL + 1),
    ("outputs", bytes(32), "BAD_LINK", CALL + 1),
    ("on_behalf_of", bytes(32), "BAD_LINK", CALL + 1),
    ("fault", "KeyError", "BAD_LINK", CALL + 1),
    ("appended_at", 1, "BAD_LINK", CALL + 1),
    ("ruling", bytes(32), "BAD_LINK", CALL + 1),
    ("observed", "NO_POLICY", "BAD_LINK", CALL + 1),
]


@pytest.mark.parametrize(("name", "value", "code", "index"), FIELDS_OF_A_MIDDLE_ENTRY)
@pytest.mark.parametrize("thorough", [False, True], ids=["", "manifest-remade"])
def test_a_changed_field_of_an_entry_has_its_verdict(
    name: str, value: object, code: str, index: int, thorough: bool
) -> None:
    """BAD_LINK at the next entry, but for what places the entry: that is named where it stands."""
    folder = rewritten(CALL, **{name: value})(FOLDER)

    assert said(folder.remade() if thorough else folder) == (code, index)


def test_every_field_of_an_entry_has_a_row() -> None:
    """A field that is added later needs its attack."""
    assert {row[0] for row in FIELDS_OF_A_MIDDLE_ENTRY} == {field.name for field in fields(AuditEntry)}


@pytest.mark.parametrize("name", ["now", "offset", "event", "kind", "outcome", "reason", "outputs"])
def test_a_changed_field_of_the_last_entry_is_a_bad_signature(name: str) -> None:
    """Nothing links to it yet, so its own signature says it."""
    value = {"now": 0, "offset": 9999}.get(name, "x" if name in {"kind", "outcome", "reason"} else bytes(32))
    folder = rewritten(LAST, **{name: value})(FOLDER)

    assert said(folder) == ("BAD_SIG", LAST)
    assert said(folder.remade()) == ("BAD_SIG", LAST)


CORRUPTIONS: list[tuple[str, Change, str, int | None]] = [
    ("one bit of the entry's last field", bit_in(ENTRIES, 9, -1), "BAD_LINK", 10),
    ("the same in the last entry", bit_in(ENTRIES, LAST, -1), "BAD_SIG", LAST),
    ("the entry's magic", bit_in(ENTRIES, 9, 0), "BAD_LINK", 10),
    ("the last entry's magic, which no signature covers", bit_in(ENTRIES, LAST, 0), "BAD_SIG", LAST),
    ("the entry's schema digest", bit_in(ENTRIES, 9, 10), "SCHEMA_UNKNOWN", 9),
    ("the length of the entry's origin, so that it decodes no more", bit_in(ENTRIES, 9, 36), "BAD_LINK", 10),
    ("the same in the last entry", bit_in(ENTRIES, LAST, 36), "BAD_SIG", LAST),
    ("a byte after the entry", items(ENTRIES, lambda e: [*e[:9], e[9] + b"\0", *e[10:]]), "BAD_LINK", 10),
    ("an entry emptied", items(ENTRIES, lambda e: [*e[:9], b"", *e[10:]]), "BAD_LINK", 10),
    ("the last entry emptied", items(ENTRIES, lambda e: [*e[:-1], b""]), "BAD_SIG", LAST),
    # signatures
    ("the signature", bit_in(PROOFS, 9, 40), "BAD_SIG", 9),
    ("the signature's key id", bit_in(PROOFS, 9, 3), "BAD_SIG", 9),
    ("the place in the signed head", bit_in(PROOFS, 9, 32 + 67), "BAD_SIG", 9),
    ("the size of the signed head", bit_in(PROOFS, 9, 32 + 71), "BAD_SIG", 9),
    ("the path to the signed head", bit_in(PROOFS, 9, -1), "BAD_SIG", 9),
    ("a hash less in the path", items(PROOFS, lambda p: [*p[:9], p[9][:-32], *p[10:]]), "BAD_SIG", 9),
    ("the signature of another entry", items(PROOFS, lambda p: [*p[:9], p[10], *p[10:]]), "BAD_SIG", 9),
    ("no signature", items(PROOFS, lambda p: [*p[:9], b"", *p[10:]]), "BAD_SIG", 9),
    ("signatures end early", items(PROOFS, cut(9)), "BAD_SIG", 9),
    ("signatures cut inside a record", lambda f: f.with_file(PROOFS, f.files[PROOFS][:-1]), "BAD_SIG", LAST),
    # events
    ("the event's body", bit_in(EVENTS, CALL, -1), "BAD_SIG", CALL),
    ("the event's signature", bit_in(EVENTS, CALL, 1 + 64 + 4), "BAD_SIG", CALL),
    ("the event's key id", bit_in(EVENTS, CALL, 1 + 32), "BAD_SIG", CALL),
    ("the event's schema", bit_in(EVENTS, CALL, 1), "SCHEMA_UNKNOWN", CALL),
    ("the event's kind", bit_in(EVENTS, CALL, 0), "BAD_SIG", CALL),
    ("an unknown kind", items(EVENTS, lambda e: [*e[:9], b"\x03", *e[10:]]), "BAD_SIG", 9),
    ("an event record without a kind", items(EVENTS, lambda e: [*e[:9], b"", *e[10:]]), "BAD_SIG", 9),
    ("a refused event's body", bit_in(EVENTS, REFUSED, -1), "BAD_SIG", REFUSED),
    ("a refused event's signature", bit_in(EVENTS, REFUSED, 1 + 64 + 4), "BAD_SIG", REFUSED),
    ("undecodable bytes", bit_in(EVENTS, 8, -1), "BAD_SIG", 8),
    ("bytes where there was no value", items(EVENTS, lambda e: [*e[:9], b"\x02x", *e[10:]]), "BAD_SIG", 9),
    ("an event without a proof", bit_in(EVENTS, 10, -1), "BAD_SIG", 10),
    ("the founding event's body", bit_in(EVENTS, 0, -1), "BAD_SIG", 0),
    ("events end early", items(EVENTS, cut(9)), "PAYLOAD_MISSING", 9),
    ("events cut inside a record", lambda f: f.with_file(EVENTS, f.files[EVENTS][:-1]), "PAYLOAD_MISSING", LAST),
    ("a registry event declared absent", items(EVENTS, lambda e: [*e[:4], b"\0", *e[5:]]), "PAYLOAD_MISSING", 4),
    ("the founding declared absent", items(EVENTS, lambda e: [b"\0", *e[1:]]), "PAYLOAD_MISSING", 0),
    # order
    ("an entry dropped, its signature and event left", items(ENTRIES, drop(9)), "GAP", 9),
    ("an entry dropped everywhere", everywhere(drop(9)), "GAP", 9),
    ("the founding dropped", everywhere(drop(0)), "GAP", 0),
    ("two entries swapped, nothing else", items(ENTRIES, swap(9)), "GAP", 9),
    ("two entries swapped everywhere", everywhere(swap(9)), "GAP", 9),
    ("an entry twice", everywhere(double(9)), "BAD_LINK", 10),
    ("the last entry twice", everywhere(double(LAST)), "BAD_LINK", LAST + 1),
    ("the last entry dropped", everywhere(cut(LAST)), "TRUNCATED", LAST),
    ("the tail dropped", everywhere(cut(3)), "TRUNCATED", 3),
    ("no entries", everywhere(cut(0)), "TRUNCATED", 0),
    ("cut inside an entry", lambda f: f.with_file(ENTRIES, f.files[ENTRIES][:-1]), "TRUNCATED", LAST),
    ("cut inside a length", lambda f: f.with_file(ENTRIES, f.files[ENTRIES][:2]), "TRUNCATED", 0),
    # the registry
    ("a registry event missing", registry(lambda r: [*r[:2], *r[3:]]), "PAYLOAD_MISSING", 2),
    ("no registry", registry(lambda r: []), "BAD_SIG", 0),  # nobody is known who could have signed
    ("registry events out of order", registry(lambda r: [r[0], r[2], r[1], *r[3:]]), "PAYLOAD_MISSING", 1),
    (
        "registry events exchanged",
        registry(lambda r: [r[0], replace(r[2], index=1), replace(r[1], index=2), *r[3:]]),
        "BAD_SIG",
        1,
    ),
    ("a registry event twice", registry(lambda r: [*r[:2], r[1], *r[2:]]), "SPLICE", 2),
    (
        "a refused registration put into the registry",
        registry(lambda r: [*r[:4], RegistryEvent(REFUSED, signed_event(FOLDER, REFUSED)), *r[4:]]),
        "SPLICE",
        REFUSED,
    ),
    ("a registry event's body", bit_in(REGISTRY, 1, -1), "BAD_SIG", 1),
    ("a registry event's signature", bit_in(REGISTRY, 2, 8 + 64 + 4), "BAD_SIG", 2),
    ("a registry event's schema", bit_in(REGISTRY, 2, 8), "BAD_SIG", 2),
    ("a registry event's index", bit_in(REGISTRY, 2, 7), "PAYLOAD_MISSING", 2),
    ("the founding event in the registry", bit_in(REGISTRY, 0, -1), "BAD_SIG", 0),
    (
        "a registry event after the last entry",
        registry(lambda r: [*r, RegistryEvent(LAST + 5, r[1].event)]),
        "TRUNCATED",
        LAST + 1,
    ),
    ("a registry event of before at the end", registry(lambda r: [*r, r[1]]), "SPLICE", LAST + 1),
    ("a registry record of no form", items(REGISTRY, lambda r: [*r, b"x"]), "MALFORMED", LAST + 1),
    # files
    ("a schema file changed", lambda f: f.with_file(schema_file(AUDIT_SCHEMA), b"{}"), "SCHEMA_UNKNOWN", 0),
    ("a schema file missing", lambda f: f.with_file(schema_file(AUDIT_SCHEMA), None), "SCHEMA_UNKNOWN", 0),
    ("a schema file of megabytes", appended(schema_file(AUDIT_SCHEMA), bytes(1 << 20)), "SCHEMA_UNKNOWN", 0),
    (
        "the event's schema missing",
        lambda f: f.with_file(schema_file(codec.current("Event").sha256), None),
        "SCHEMA_UNKNOWN",
        0,
    ),
    (
        "the schema of a root act missing",
        lambda f: f.with_file(schema_file(codec.current("AdminAddition").sha256), None),
        "SCHEMA_UNKNOWN",
        14,
    ),
    (
        "a published schema that nothing uses",
        lambda f: f.with_file(schema_file(codec.current("Result").sha256), codec.current("Result").text.encode()),
        "MALFORMED",
        None,
    ),
    ("a schema that nobody published", lambda f: f.with_file(schema_file(bytes(32)), b"{}"), "MALFORMED", None),
    ("a file too many", lambda f: f.with_file("notes.txt", b"trust me"), "MALFORMED", None),
    ("garbage after the entries", appended(ENTRIES, b"\0\0\0\x09garbage"), "MALFORMED", LAST + 1),
    ("a huge length after the entries", appended(ENTRIES, b"\xff\xff\xff\xff"), "MALFORMED", LAST + 1),
    ("a byte after the entries", appended(ENTRIES, b"\0"), "MALFORMED", LAST + 1),
    ("garbage after the signatures", appended(PROOFS, b"garbage"), "MALFORMED", LAST + 1),
    ("garbage after the events", appended(EVENTS, b"\0\0\0\0"), "MALFORMED", LAST + 1),
    ("garbage after the registry", appended(REGISTRY, b"garbage"), "MALFORMED", LAST + 1),
    ("garbage after the manifest", appended(MANIFEST, b" "), "MALFORMED", None),
    *[(f"{name} missing", lambda f, n=name: f.with_file(n, None), "MALFORMED", None) for name in DATA_FILES],
    ("the manifest missing", lambda f: f.with_file(MANIFEST, None), "MALFORMED", None),
]


@pytest.mark.parametrize(("change", "code", "index"), [row[1:] for row in CORRUPTIONS], ids=[r[0] for r in CORRUPTIONS])
def test_a_corruption_has_its_verdict(change: Change, code: str, index: int | None) -> None:
    """Named after what the bytes mean, at the first entry that they fail."""
    assert said(change(FOLDER)) == (code, index)


# What the manifest's digests alone cannot decide, because whoever changes a file can write them anew.
_OF_THE_MANIFEST = {"garbage after the manifest", "the manifest missing", *(f"{name} missing" for name in DATA_FILES)}
_THOROUGH = [row for row in CORRUPTIONS if row[0] not in _OF_THE_MANIFEST]


@pytest.mark.parametrize(("change", "code", "index"), [row[1:] for row in _THOROUGH], ids=[r[0] for r in _THOROUGH])
def test_a_corruption_has_its_verdict_although_the_manifest_was_made_anew(
    change: Change, code: str, index: int | None
) -> None:
    """The digests in the manifest are no part of any of these verdicts."""
    assert said(change(FOLDER).remade()) == (code, index)


def test_a_tail_cut_off_with_all_that_belongs_to_it_cannot_be_seen_without_a_witness() -> None:
    """Known and unavoidable: the first n entries of a log are a log. This is why the verdict is UNWITNESSED, not OK."""
    shorter = SmallLog(LOG.world, LOG.pairs[:8], LOG.entries[:8]).folder()

    verdict = judge(shorter)

    assert (verdict.code, verdict.size) == ("UNWITNESSED", 8)
    assert verdict.root != judge(FOLDER).root


def test_a_tail_cut_off_under_a_manifest_made_anew_still_fails_on_what_was_forgotten() -> None:
    """The registry knows of entries that the log no longer has."""
    shorter = everywhere(cut(8))(FOLDER).remade(size=8, last=leaf_of(LOG.entries[7]))

    assert said(shorter) == ("TRUNCATED", 8)
