"""The keys of an archive are not those of the monitor: with them alone nothing that it signed can be changed."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from processors.evidence.archive.bodies import BodySealer, keys_for
from processors.evidence.archive.codes import ArchiveCode
from processors.evidence.archive.contents import entries_of
from processors.evidence.archive.segment import (
    BodyKind,
    Frame,
    Segment,
    encode_segment,
    parse_segment,
)
from processors.evidence.archive.verdict import ArchiveVerdict
from processors.evidence.archive.writing import LogRecord
from processors.evidence.entry import VerdictCode
from tests.archives import (
    KeysInMemory,
    owner_of,
    records_of,
    segments_of,
    verdict_on,
)
from tests.builders import keys_of
from tests.reference.log_builder import SmallLog, build_log, build_world

LOG = build_log()
OWNER = owner_of(LOG)
RECORDS = records_of(LOG)
CUTS = (5, 9, 20)
ARCHIVE = segments_of(RECORDS, OWNER, cuts=CUTS)
NAMES = sorted(ARCHIVE)
SECOND = NAMES[1]
GOOD = ArchiveCode.WHOLE


def found(name: str, data: bytes) -> tuple[str, str, int | None]:
    verdict = verdict_on({**ARCHIVE, name: data}, OWNER)
    return verdict.code, verdict.segment, verdict.index


def reframed(name: str, at: int, **fields: object) -> bytes:
    """Return a segment in which one frame has other fields, sealed again."""
    segment = parse_segment(ARCHIVE[name], OWNER)
    frames = list(segment.frames)
    frames[at] = frames[at]._replace(**fields)  # type: ignore[arg-type]
    return rebuilt(segment, frames)


def rebuilt(segment: Segment, frames: list[Frame]) -> bytes:
    return encode_segment(segment.header, [frame.encode() for frame in frames], OWNER)


# --- what a holder of the lasting key can do, who is not the monitor


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(NAMES), st.data())
def test_what_the_monitor_signed_cannot_be_changed_with_the_archives_keys(name: str, data: st.DataObject) -> None:
    segment = parse_segment(ARCHIVE[name], OWNER)
    at = data.draw(st.integers(0, len(segment.frames) - 1))
    frame = segment.frames[at]
    fields = ["value", "kid", "proof"] + (["sealed"] if frame.sealed else []) + (["outputs"] if frame.outputs else [])
    field = data.draw(st.sampled_from(fields))
    if field == "outputs":
        one = data.draw(st.integers(0, len(frame.outputs) - 1))
        output = frame.outputs[one]
        outputs = list(frame.outputs)
        outputs[one] = output._replace(value=flipped(output.value, data))
        spoiled = reframed(name, at, outputs=tuple(outputs))
    else:
        spoiled = reframed(name, at, **{field: flipped(getattr(frame, field), data)})
    verdict = verdict_on({**ARCHIVE, name: spoiled}, OWNER)

    assert verdict.code != GOOD
    assert verdict.segment in {name, NAMES[min(NAMES.index(name) + 1, len(NAMES) - 1)]}


def flipped(value: bytes, data: st.DataObject) -> bytes:
    at = data.draw(st.integers(0, len(value) - 1))
    return value[:at] + bytes([value[at] ^ (1 << data.draw(st.integers(0, 7)))]) + value[at + 1 :]


def test_frames_that_were_dropped_doubled_or_exchanged_are_found() -> None:
    segment = parse_segment(ARCHIVE[NAMES[2]], OWNER)
    a, b, *rest = segment.frames
    for frames in ([a, *rest], [a, a, b, *rest], [b, a, *rest]):
        header = replace(segment.header, last=segment.header.first + len(frames) - 1)
        code, name, _ = found(NAMES[2], rebuilt(replace(segment, header=header), frames))
        assert code != GOOD
        assert name in {NAMES[2], NAMES[3]}


def test_a_body_of_another_entry_does_not_open_at_this_one() -> None:
    """Sealed bodies are bound to their place."""
    segment = parse_segment(ARCHIVE[SECOND], OWNER)
    frames = [f for f in segment.frames if f.body is BodyKind.MONTHLY]
    at = segment.frames.index(frames[0])
    assert found(SECOND, reframed(SECOND, at, sealed=frames[1].sealed))[0] == ArchiveCode.WRONG_KEY
    assert found(SECOND, reframed(SECOND, at, appended_at=1))[0] == ArchiveCode.WRONG_KEY


def test_another_event_is_not_the_one_that_the_entry_names() -> None:
    """Also if it is sealed well: the monitor signed the leaf."""
    segment = parse_segment(ARCHIVE[SECOND], OWNER)
    archived = list(entries_of(segment, OWNER, KeysInMemory()))
    at = next(i for i, one in enumerate(archived) if one.frame.body is BodyKind.MONTHLY)
    sealer = BodySealer(OWNER.genesis, segment.header.salt, keys_for(segment.header, KeysInMemory()))
    body = archived[at].body._replace(value=RECORDS[0].value)
    _, sealed = sealer.seal(archived[at].entry, body, archived[at].frame.appended_at)

    assert found(SECOND, reframed(SECOND, at, sealed=sealed)) == (
        ArchiveCode.EVENT_MISMATCH,
        SECOND,
        archived[at].entry.index,
    )


def test_a_body_that_was_taken_away_is_counted_and_a_registration_is_missed() -> None:
    """With the archive's keys one can blank an event. The verdict says how many are absent, and which cannot be."""
    segment = parse_segment(ARCHIVE[NAMES[0]], OWNER)
    for at, frame in enumerate(segment.frames):
        spoiled = {**ARCHIVE, NAMES[0]: reframed(NAMES[0], at, body=BodyKind.GONE, sealed=None)}
        verdict = verdict_on(relinked(spoiled), OWNER)
        if frame.body is BodyKind.LASTING:
            wanted = VerdictCode.BAD_SIG if at == 0 else VerdictCode.PAYLOAD_MISSING
            assert (verdict.code, verdict.index) == (wanted, at)
        else:
            assert verdict.code == GOOD
            assert verdict.absent == 1


def relinked(segments: dict[str, bytes]) -> dict[str, bytes]:
    """Return segments of which each names the SHA-256 of the one before."""
    made: dict[str, bytes] = {}
    before = bytes(32)
    for name in sorted(segments):
        segment = parse_segment(segments[name], OWNER)
        header = replace(segment.header, before=before)
        made[name] = rebuilt(replace(segment, header=header), list(segment.frames))
        before = parse_segment(made[name], OWNER).sha256
    return made


# --- what a thief of another key can do


def with_log(log: SmallLog) -> ArchiveVerdict:
    records = [
        replace_record(r, entry, *pair)
        for r, entry, pair in zip(RECORDS, log.entries, log.pairs, strict=True)
    ]  # fmt: skip
    return verdict_on(segments_of(records, OWNER, cuts=CUTS), OWNER)


def replace_record(record: LogRecord, entry: object, audit: object, _: object) -> LogRecord:
    return replace(record, entry=entry, value=audit.value, kid=audit.kid, proof=audit.proof)  # type: ignore[attr-defined,arg-type]


def test_entries_signed_by_a_key_that_was_not_the_monitors_are_named() -> None:
    agent = keys_of("stranger").signing
    last = len(LOG.entries) - 1
    verdict = with_log(LOG.resign(last, by=agent))
    assert (verdict.code, verdict.index) == (VerdictCode.BAD_SIG, last)
    verdict = with_log(LOG.resign(last, by=LOG.world.admin.keys.signing))
    assert (verdict.code, verdict.index) == (VerdictCode.KEY_NOT_VALID, last)


def test_a_monitors_key_counts_up_to_its_revocation_and_no_further() -> None:
    world = build_world("thief")
    second = world.register("monitor", "monitor", keys=keys_of("second monitor"))
    world.revoke("monitor", kid=world.monitor.kid)
    revoked = world.offset - 1
    world.publish_policy({"policy_id": "company:x", "resources": ["tool:**"]})
    log = SmallLog.of(world)
    owner = owner_of(log)
    by_thief = verdict_on(segments_of(records_of(log), owner), owner)
    assert (by_thief.code, by_thief.index) == (VerdictCode.KEY_NOT_VALID, revoked + 1)
    honest = log.relinked(revoked + 1, by=second.keys.signing)
    records = [
        replace_record(r, entry, *pair)
        for r, entry, pair in zip(records_of(log), honest.entries, honest.pairs, strict=True)
    ]  # fmt: skip
    assert verdict_on(segments_of(records, owner), owner).code == GOOD
