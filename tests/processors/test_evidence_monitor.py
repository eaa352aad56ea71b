"""What a monitor could sign and the verifier does not believe, and what a log may lack."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from processors.effects import output_place
from processors.evidence import entry
from processors.evidence.folder_format import ENTRIES, PROOFS, REGISTRY_KINDS
from processors.evidence.known_keys import SESSION_KINDS
from processors.evidence.packing import PackError
from processors.evidence.verdict import verify
from processors.identity.following import follow
from processors.proof.signing import AUDIT_TAG, VerifiedHeads, kid_of
from processors.refusal import Refusal
from schemas import codec
from schemas.events.logins import SessionRenewed
from schemas.records import AuditEntry, Body, Event, SessionOpened
from tests.builders import keys_of
from tests.reference.evidence_reference import verdict_of
from tests.reference.folder_changes import (
    AUDIT_SCHEMA,
    CALL,
    FOLDER,
    GENESIS,
    LAST,
    LOG,
    REFUSED,
    TOOL,
    judge,
    said,
)
from tests.reference.log_builder import SmallLog, build_log, leaf_of
from tests.world import HOUR_MS, World

FOREIGN = build_log("foreign", tenant="globex")

# --- what only a monitor could do


def test_an_entry_of_another_tenant_is_a_splice() -> None:
    """Although it is signed by its own monitor, and also when its link is mended by ours."""
    foreign = FOREIGN.pairs[9]
    spliced = SmallLog(LOG.world, [*LOG.pairs[:9], foreign, *LOG.pairs[10:]], LOG.entries)
    mended = LOG.resign(9, origin="test/globex")

    assert said(spliced.folder()) == ("SPLICE", 9)
    assert said(mended.folder()) == ("SPLICE", 9)


def test_two_signed_histories_are_a_fork() -> None:
    """The monitor signed both entry 9 and an entry 10 that has another 9 before it."""
    assert said(LOG.resign(9, reason="OVERSIZED").folder()) == ("FORK", 10)
    assert said(LOG.resign(9, prev=bytes(32)).folder()) == ("FORK", 9)


def test_one_index_signed_twice_is_a_fork() -> None:
    """And no accident: two different entries of index 9 that link to the same 8."""
    other = LOG.resign(9, reason="OVERSIZED")
    log = SmallLog(LOG.world, [*LOG.pairs[:10], other.pairs[9], *LOG.pairs[10:]], LOG.entries)

    assert said(log.folder()) == ("FORK", 10)


def test_a_fork_needs_two_good_signatures() -> None:
    """Nobody but the monitor can make it look as if it had forked."""
    stranger = keys_of("a stranger").signing

    assert said(LOG.resign(9, by=stranger, reason="OVERSIZED").folder()) == ("BAD_LINK", 10)
    assert said(LOG.resign(9, by=TOOL, reason="OVERSIZED").folder()) == ("BAD_LINK", 10)


def test_an_entry_signed_by_a_key_of_another_role_is_refused() -> None:
    """One key, one role: a tool's key, good as it is, says nothing about the log."""
    assert said(LOG.resign(LAST, by=TOOL).folder()) == ("KEY_NOT_VALID", LAST)
    assert said(LOG.resign(LAST, by=LOG.world.admin.keys.signing).folder()) == ("KEY_NOT_VALID", LAST)
    assert said(LOG.resign(LAST, by=LOG.world.roots[0].keys.signing).folder()) == ("KEY_NOT_VALID", LAST)


def test_an_entry_signed_by_an_unregistered_key_has_no_signature() -> None:
    """There is no key to check it with."""
    assert said(LOG.resign(LAST, by=keys_of("a stranger").signing).folder()) == ("BAD_SIG", LAST)


def _with_second_monitor(**registration: Any) -> tuple[SmallLog, Any]:
    world = World.founded("two monitors")
    second = world.register("monitor", "monitor", **registration)
    world.register("agent", "bot")
    world.revoke("monitor", kid=world.monitor.kid)
    world.advance(HOUR_MS)
    world.send(world.publication({"policy_id": "agent:bot", "resources": ["tool:**"]}), world.admin)
    return SmallLog.of(world), second.keys.signing


def test_a_revoked_monitor_key_signs_nothing_after_its_revocation() -> None:
    """The entry that records the revocation is its last; from there on its successor signs."""
    log, second = _with_second_monitor()

    assert said(log.folder(), log.world.genesis) == ("KEY_NOT_VALID", 4)
    assert said(log.resign(4, by=second).folder(), log.world.genesis) == ("UNWITNESSED", None)


def test_a_monitor_key_signs_nothing_before_its_registration_is_on_the_log() -> None:
    """Nor the entry that records it: the key is not known by then."""
    log, second = _with_second_monitor()
    log = log.resign(4, by=second)

    assert said(log.resign(2, by=second).folder(), log.world.genesis) == ("UNWITNESSED", None)
    assert said(log.resign(1, by=second).folder(), log.world.genesis) == ("BAD_SIG", 1)
    assert said(log.resign(0, by=second).folder(), log.world.genesis) == ("BAD_SIG", 0)


def test_an_expired_monitor_key_signs_nothing() -> None:
    """By log time, so the verdict is the same in every year."""
    log, second = _with_second_monitor(expires_at=World("two monitors").now + 10)

    assert said(log.resign(4, by=second).folder(), log.world.genesis) == ("KEY_NOT_VALID", 4)


LIES: list[tuple[str, int, dict[str, Any], str]] = [
    ("log time that falls", CALL, {"now": 0}, "BAD_LINK"),
    ("one intake record twice", CALL, {"offset": CALL - 1}, "BAD_LINK"),
    ("another partition of intake", CALL, {"partition": 1}, "BAD_LINK"),
    ("another event", CALL, {"event": bytes(32)}, "BAD_SIG"),
    ("another event id", CALL, {"event_id": bytes(16)}, "BAD_SIG"),
    ("another key", CALL, {"event_kid": bytes(32)}, "BAD_SIG"),
    ("another kind of event", CALL, {"kind": "ClockTicked"}, "BAD_SIG"),
    ("that a good event did not decode", CALL, {"kind": "Undecodable"}, "BAD_SIG"),
    ("that an event with a bad signature was accepted", 12, {"outcome": "accepted", "reason": ""}, "BAD_SIG"),
    ("that its signature was good, but its time bad", 12, {"reason": "STALE"}, "BAD_SIG"),
    ("that an event without a proof was accepted", 10, {"outcome": "accepted", "reason": ""}, "BAD_SIG"),
    ("that an event without a proof came too late", 10, {"reason": "STALE"}, "BAD_SIG"),
    ("that undecodable bytes were accepted", 8, {"outcome": "accepted", "reason": ""}, "BAD_SIG"),
    ("that a call of an ended session was allowed", 16, {"outcome": "allowed", "reason": ""}, "KEY_NOT_VALID"),
    ("that a refused registration was accepted", REFUSED, {"outcome": "accepted", "reason": ""}, "PAYLOAD_MISSING"),
    ("that a registration was refused", 1, {"outcome": "refused", "reason": "KEY_TAKEN"}, "SPLICE"),
    ("a short digest", CALL, {"outputs": b"short"}, "MALFORMED"),
]


@pytest.mark.parametrize(("index", "fields", "code"), [row[1:] for row in LIES], ids=[row[0] for row in LIES])
def test_what_a_monitor_signs_is_checked_all_the_same(index: int, fields: dict[str, Any], code: str) -> None:
    """A chain of good links and signatures over an entry that cannot be true."""
    log = LOG.resign(index, **fields).relinked(index + 1)
    records = [record for record, _ in log.pairs]
    folder = FOLDER.put(ENTRIES, [b"AUD1" + AUDIT_SCHEMA + record.value[5:] for record in records])
    folder = folder.put(PROOFS, [record.kid + record.proof for record in records])

    assert said(folder.remade(last=leaf_of(log.entries[-1]))) == (code, index)


def test_an_event_that_was_accepted_against_the_registry_s_rules_is_not_followed() -> None:
    """A monitor cannot register a key for somebody whose role may not, however well the entry is signed."""
    log = LOG.resign(REFUSED, outcome="accepted", reason="").relinked(REFUSED + 1)

    assert said(log.folder()) == ("KEY_NOT_VALID", REFUSED)


def test_an_entry_has_one_encoding() -> None:
    """Avro bytes that decode to a good entry in another way are not the entry, although the monitor signed them."""
    record, received = LOG.pairs[LAST]
    origin = codec.encode(LOG.entries[LAST])
    assert origin[0] == 2 * len("test/acme")
    longer = record.value[:5] + bytes([origin[0] | 0x80, 0]) + origin[1:]  # a length in two bytes where one would do
    assert codec.decode_as(AuditEntry, longer) == LOG.entries[LAST]
    signing_key = LOG.world.monitor.keys.signing
    place = output_place(AUDIT_TAG, GENESIS, "macaw.acme.audit", 0, "AuditEntry")
    resigned = replace(record, value=longer, proof=signing_key.sign_leaves([place.leaf(longer[5:])])[0])

    assert said(SmallLog(LOG.world, [*LOG.pairs[:LAST], (resigned, received)]).folder()) == ("MALFORMED", LAST)


# --- absent events, sessions that left


SKIPPED = next(n for n, entry in enumerate(LOG.entries) if entry.outcome == "skipped")


@pytest.mark.parametrize(
    "fields",
    [
        {"offset": LOG.entries[SKIPPED - 1].offset + 3},  # the ruling does not say so
        {"ruling": None},
        {"ruling": bytes(32)},
        {"kind": "TimeAccepted"},
        {"event": bytes(32)},
    ],
)
def test_a_record_is_skipped_by_an_admin_s_ruling_on_it_only(fields: dict[str, Any]) -> None:
    """A monitor cannot leave out a record under a ruling on another, or without one."""
    last = next(n for n, entry in enumerate(LOG.entries) if n > SKIPPED and entry.outcome != "skipped") - 1
    assert said(LOG.resign(last, **fields).relinked(last + 1).folder()) == ("BAD_SIG", last)


def test_nothing_but_a_ruling_skips_a_record() -> None:
    """Neither an admin's other events nor a ruling of somebody else let a monitor say that a record was skipped."""
    for index in (CALL, LAST):
        entry = LOG.entries[index]
        lie = LOG.resign(index, outcome="skipped", reason="UNREADABLE_BATCH", ruling=entry.event).relinked(index + 1)
        assert said(lie.folder()) == ("BAD_SIG", index)


def test_absent_events_are_counted_and_never_taken_for_checked() -> None:
    """Intake's retention is shorter than the log's. Registry events must be there all the same."""
    pairs = [(r, None if e.kind not in REGISTRY_KINDS else v) for (r, v), e in zip(LOG.pairs, LOG.entries, strict=True)]
    gone = sum(v is None for _, v in pairs)

    verdict = judge(SmallLog(LOG.world, pairs).folder())

    assert (verdict.code, verdict.events_absent) == ("UNWITNESSED", gone)
    assert gone > 5
    listed = [index for first, last in verdict.absent for index in range(first, last + 1)]
    assert listed == [index for index, (_, received) in enumerate(pairs) if received is None]
    assert all(after[0] > before[1] + 1 for before, after in itertools.pairwise(verdict.absent))


SESSION_ENTRIES = [n for n, e in enumerate(LOG.entries) if e.kind in SESSION_KINDS and e.outcome == "accepted"]


@pytest.mark.parametrize("gone", [*([one] for one in SESSION_ENTRIES), SESSION_ENTRIES])
def test_a_session_that_has_left_the_registry_takes_its_events_along(gone: list[int]) -> None:
    """Nobody can check them without its opening; everything else is checked as before.

    Without a renewal nobody knows whose time it was: no session that was opened before can be checked.
    """
    pairs = [(r, None if n in gone else v) for n, (r, v) in enumerate(LOG.pairs)]

    folder = SmallLog(LOG.world, pairs).folder()
    verdict = judge(folder)

    assert (verdict.code, verdict.index) == ("UNWITNESSED", None), verdict
    absent = {index for first, last in verdict.absent for index in range(first, last + 1)}
    opened = {
        n: kid_of(body.key.ed25519) for n in SESSION_ENTRIES if isinstance(body := decoded(n).body, SessionOpened)
    }
    renewed = min((n for n in gone if isinstance(decoded(n).body, SessionRenewed)), default=0)
    since = {kid: n if n in gone else renewed for n, kid in opened.items() if n in gone or n < renewed}
    by_them = {n for n, e in enumerate(LOG.entries) if n > since.get(e.event_kid or b"", n) and e.kind != "Undecodable"}
    of_them = {n for n in SESSION_ENTRIES if n > since.get(getattr(decoded(n).body, "session", b""), n)}
    unproven = {n for n in by_them if LOG.entries[n].reason == "MALFORMED_PROOF"}
    assert absent == {*gone, *by_them, *of_them} - unproven
    assert verdict_of(folder.files, GENESIS) == ("UNWITNESSED", None)


def decoded(index: int) -> Event:
    received = LOG.pairs[index][1]
    assert received is not None
    event: Event = codec.decode_as(Event, received.value or b"")
    return event


def test_an_event_of_a_session_that_is_gone_is_not_passed_unchecked() -> None:
    """A folder that keeps the call of a session and leaves out its opening fails at the call."""
    folder = LOG.folder()
    events = [b"\0" if n == SESSION_ENTRIES[0] else e for n, e in enumerate(folder.items("events.bin"))]
    registry = [r for r in folder.items("registry.bin") if int.from_bytes(r[:8], "big") != SESSION_ENTRIES[0]]
    spoilt = folder.put("events.bin", events).put("registry.bin", registry).remade()

    assert said(spoilt) == ("BAD_SIG", CALL)
    assert verdict_of(spoilt.files, GENESIS) == ("BAD_SIG", CALL)


def test_how_many_ranges_are_listed_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a log that is longer than memory; how many events are absent is counted all the same."""
    monkeypatch.setattr(entry, "ABSENT_RANGES_MAX", 2)
    progress = entry.EntryProgress()
    for index in (1, 2, 5, 9, 10, 11):
        progress.note_absent(index)

    assert (progress.absent, progress.events_absent) == ([(1, 2), (5, 5)], 6)


def test_a_log_without_a_registry_event_is_not_packed() -> None:
    """It could only fail later."""
    pairs = [(record, None) for record, _ in LOG.pairs]

    with pytest.raises(PackError, match="TenantFounded"):
        SmallLog(LOG.world, pairs).folder()


@pytest.mark.parametrize("value", [b"", b"\0\0\0\0\1x", codec.current("Event").prefix + b"x"])
def test_only_audit_entries_are_packed(value: bytes) -> None:
    """What else stands on the topic is named."""
    record, received = LOG.pairs[3]
    with pytest.raises(PackError, match="audit record 1"):
        SmallLog(LOG.world, [LOG.pairs[0], (replace(record, value=value), received)]).folder()


def test_a_log_without_entries_is_not_packed() -> None:
    """An empty folder would say nothing, and look like something."""
    with pytest.raises(PackError, match="no audit entry"):
        SmallLog(LOG.world).folder()


def test_an_intake_record_that_was_changed_after_the_fact_is_shown_as_it_is() -> None:
    """The exporter does not hide it: the verifier names it."""
    record, received = LOG.pairs[CALL]
    assert received is not None
    for value in (b"changed", None, (received.value or b"")[:-1] + b"!"):
        pairs = [*LOG.pairs]
        pairs[CALL] = (record, replace(received, value=value))
        assert said(SmallLog(LOG.world, pairs).folder()) == ("BAD_SIG", CALL)


def test_an_audit_record_without_its_headers_has_no_signature() -> None:
    """As when somebody else wrote to the topic."""
    record, received = LOG.pairs[LAST]
    bare = (replace(record, kid=b"", proof=b""), received)

    assert said(SmallLog(LOG.world, [*LOG.pairs[:-1], bare]).folder()) == ("BAD_SIG", LAST)


def test_a_record_of_megabytes_does_not_spoil_the_evidence() -> None:
    """Anybody who may write to intake can put one there, compressed: it was refused, and counts as absent."""
    world = World.founded("huge")
    world.fold(bytes(3 << 20), [])
    value, headers = world.signed(world.publication(), world.admin)
    world.fold(value, [("macaw-proof", bytes(3 << 20)), headers[1]])
    log = SmallLog.of(world)

    verdict = verify(log.folder(), genesis=world.genesis)

    assert (verdict.code, verdict.events_absent) == ("UNWITNESSED", 2)


def test_sessions_leave_the_verifier_as_they_leave_the_fold() -> None:
    """A session's key may be registered again once its row has left, and the verifier must agree."""
    world = World.founded("leaving")
    agent, keys = world.register("agent", "bot"), keys_of("leaving", "session")
    for _ in range(3):
        session = world.open_session(agent, keys=keys, ttl_ms=1000)
        world.advance(HOUR_MS)
        assert world.call(session, "tool:calc/run").says[1] in {"EXPIRED_SESSION", "UNKNOWN_KEY"}
        world.tick()
    log = SmallLog.of(world)

    assert said(log.folder(), world.genesis) == ("UNWITNESSED", None)


def test_a_session_that_the_fold_still_knew_is_still_known() -> None:
    """64 rows leave for each record, calls among them: the fold may be behind the verifier, which sees no calls."""
    world = World.founded("backlog")
    agent, tool = world.register("agent", "bot"), world.register("tool", "calc")
    world.publish_policy({"policy_id": "agent:bot", "resources": ["tool:**"]})
    early = world.open_session(agent, ttl_ms=1)
    other = world.open_session(agent)
    for n in range(130):
        assert world.call(other, "tool:calc/run", {"n": n}).says[0] == "allowed"
    world.advance(HOUR_MS)
    late = world.call(early, "tool:calc/run")
    log = SmallLog.of(world)

    assert late.says == ("refused", "EXPIRED_SESSION")
    assert tool.kid
    assert said(log.folder(), world.genesis) == ("UNWITNESSED", None)


def test_the_registry_kinds_are_those_that_can_be_followed() -> None:
    """An event that changes the registry and is not followed would make good logs fail, or bad ones pass."""
    for index, one in enumerate(LOG.entries):
        received = LOG.pairs[index][1]
        if received is None or one.outcome not in {"accepted", "allowed", "denied"}:
            continue
        tables = LOG.world.fresh_tables()
        for (_, earlier), before in zip(LOG.pairs[:index], LOG.entries, strict=False):
            if before.kind in REGISTRY_KINDS and before.outcome == "accepted":
                assert earlier is not None
                follow(tables, earlier, VerifiedHeads(), now=before.now)
        try:
            follow(tables, received, VerifiedHeads(), now=one.now)
        except Refusal:
            assert one.kind not in REGISTRY_KINDS
        else:
            assert one.kind in REGISTRY_KINDS
    said_kinds = {entry.kind for entry in LOG.entries} - {"Undecodable"}
    assert said_kinds == {body.__name__ for body in Body.__args__}, "say the new event in tests/reference/log_builder"
