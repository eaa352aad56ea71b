r"""A segment of a tenant's archive, byte for byte: consecutive audit entries with all that they speak of.

    segment = header ‖ frame ... ‖ trailer                   one frame for each entry, in order
    header  = "MACAWARC" ‖ u16 version ‖ u64 bytes of the segment ‖ lp(origin) ‖ lp(tenant) ‖ genesis
              ‖ u64 first index ‖ u64 last index ‖ u64 first offset ‖ u64 last offset
              ‖ prev ‖ SHA-256 of the segment before ‖ u32 month
              ‖ kid of its key (16) ‖ kid of the lasting key (16) ‖ salt (16) ‖ ten u64, the next offsets
    frame   = u32 length
              ‖ u64 offset ‖ i64 time ‖ lp(entry) ‖ kid ‖ lp(proof) ‖ op(event proof)          the audit record
              ‖ u8 body kind ‖ i64 append time ‖ op(u64 offset of the ruling) ‖ op(body)       its intake record, sealed
              ‖ u8 outputs kind ‖ u32 n ‖ n * (u8 topic ‖ u8 partition ‖ u64 offset ‖ lp(value))          its outputs
    trailer = "MACAWEND" ‖ u64 entries ‖ SHA-256 of all before ‖ seal (32)

Numbers are big-endian; lp(x) is u32 length ‖ x; op(x) is lp(x), or FFFFFFFF for none. An entry stands as on its topic,
framed. `prev` is the log leaf of the entry before. A month is year * 12 + month - 1, in UTC, of the entries' log time:
a segment has one month, so that destroying one key makes whole segments unreadable (`bodies`).

A segment may come from an attacker. Each length is compared with its bound, and with the bytes that are left, before
it is used. There is one encoding of each content; everything else is refused with a code of `ArchiveCode`.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from hashlib import sha256
from typing import NamedTuple

from processors.evidence.archive.codes import ArchiveCode, SegmentError, segment_name
from processors.evidence.folder_format import ENTRY_BYTES_MAX
from processors.proof.signing import length_prefixed
from processors.text.characters import quoted
from schemas import limits
from schemas.topics import DECISIONS, KEYED_PARTITIONS, RESULTS, Topic, is_tenant_id

MAGIC, END, VERSION = b"MACAWARC", b"MACAWEND", 1
DIGEST_BYTES = 32
KEY_ID_BYTES = SALT_BYTES = 16
TRAILER_BYTES = len(END) + 8 + 2 * DIGEST_BYTES
NAME_BYTES_MAX = 256  # of an origin: a deployment, a slash, a tenant of at most 40
HEADER_BYTES_MAX = 1024  # more than any header has: a reader takes so much to look at one
# Of a segment: the archiver closes one at 16 MiB, and one entry alone may bring 1.3 MiB of an event and what it caused.
SEGMENT_BYTES_MAX = 64 * 1024 * 1024
ENTRIES_MAX = 65_536  # in one segment
BODY_BYTES_MAX = limits.INTAKE_MESSAGE_BYTES_MAX + 64 * 1024  # the broker's bound, and our own lengths
BODY_OVERHEAD = 16  # what sealing adds
OUTPUTS_MAX = 4096  # of one entry; one transaction has no more
OUTPUT_TOPICS: tuple[Topic, ...] = (DECISIONS, RESULTS)
AUDIT_PLACE, INTAKE_PLACE = (
    0,
    1,
)  # in `SegmentHeader.next_offsets`; after them the partitions of decisions, then of results
# Where the offset of each partition of an output topic stands in `SegmentHeader.next_offsets`.
PARTITIONS = {(t, p): 2 + t * KEYED_PARTITIONS + p for t in range(len(OUTPUT_TOPICS)) for p in range(KEYED_PARTITIONS)}
PLACES = 2 + len(PARTITIONS)
NO_SEGMENT = bytes(DIGEST_BYTES)  # before the first one
_NONE = 0xFFFFFFFF
_NO_DATA = _NONE.to_bytes(4, "big")
_PROOF_BYTES_MAX = 1024
_HEADER_NAME_BYTES_MAX = 32 * 1024
_FIXED = struct.Struct(f">32sQQQQ32s32sI16s16s16s{PLACES}Q")
_AUDIT = struct.Struct(">QqI")
_BODY = struct.Struct(">Bq")
_OUTPUTS = struct.Struct(">BI")
_OUTPUT = struct.Struct(">BBQI")


class BodyKind(IntEnum):
    """The part of an intake record that is kept."""

    GONE = 0  # intake no longer had it when it was archived
    OVERSIZED = 1  # larger than any event may be; it was refused
    UNREADABLE = 2  # the batch could not be read, and an admin's ruling skips it
    MONTHLY = 3  # sealed under the key of its month
    LASTING = 4  # sealed under the lasting key: a registration, without which no later signature can be judged


class OutputsKind(IntEnum):
    """The part of an entry's decisions and results that is kept."""

    GONE = 0  # their topics no longer had all of them when they were archived
    WHOLE = 1


class StoredOutput(NamedTuple):
    """The value of a decision or result, and where it stood on Kafka. `topic` is an index into OUTPUT_TOPICS."""

    topic: int
    partition: int
    offset: int
    value: bytes


class Frame(NamedTuple):
    """One entry: its audit record, the sealed intake record, and the values of its outputs in signed order.

    `value` is the framed entry, `sealed` the encrypted body or None, `appended_at` the intake record's append time in
    ms or 0, `ruling` the offset of the ruling that the entry names, or None.
    """

    offset: int
    time: int
    value: bytes
    kid: bytes
    proof: bytes
    event_proof: bytes | None
    body: BodyKind
    appended_at: int
    ruling: int | None
    sealed: bytes | None
    outputs_kind: OutputsKind
    outputs: tuple[StoredOutput, ...]

    def encode(self) -> bytes:
        """Return the frame with its length."""
        ruling = None if self.ruling is None else self.ruling.to_bytes(8, "big")
        outputs = self.outputs
        parts = [
            _AUDIT.pack(self.offset, self.time, len(self.value)),
            self.value,
            self.kid,
            length_prefixed(self.proof),
            optional(self.event_proof),
            _BODY.pack(self.body, self.appended_at),
            optional(ruling),
            optional(self.sealed),
            _OUTPUTS.pack(self.outputs_kind, len(outputs)),
        ]
        for topic, partition, offset, value in outputs:
            parts += (_OUTPUT.pack(topic, partition, offset, len(value)), value)
        data = b"".join(parts)
        return len(data).to_bytes(4, "big") + data


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentHeader:
    """The beginning of a segment. `size` is that of the whole segment in bytes, `before` the SHA-256 of the one before.

    `next_offsets` are the Kafka offsets behind this segment: of audit, of intake, and of each partition of `decisions`
    and `results`. They tell an archiver where to go on, and prove nothing.
    """

    size: int
    origin: str
    tenant: str
    genesis: bytes
    first: int
    last: int
    first_offset: int
    last_offset: int
    prev: bytes
    before: bytes
    month: int
    month_kid: bytes
    lasting_kid: bytes
    salt: bytes
    next_offsets: tuple[int, ...]

    @property
    def count(self) -> int:
        """The number of entries."""
        return self.last - self.first + 1

    @property
    def name(self) -> str:
        """The name that this segment must have in a store."""
        return segment_name(self.first)

    def encode(self) -> bytes:
        """Return the bytes of the header."""
        fixed = _FIXED.pack(
            self.genesis, self.first, self.last, self.first_offset, self.last_offset, self.prev, self.before,
            self.month, self.month_kid, self.lasting_kid, self.salt, *self.next_offsets,
        )  # fmt: skip
        start = MAGIC + VERSION.to_bytes(2, "big") + self.size.to_bytes(8, "big")
        return start + length_prefixed(self.origin.encode()) + length_prefixed(self.tenant.encode()) + fixed


@dataclass(frozen=True, slots=True, repr=False)
class Owner:
    """The log of an archive, the kid of its lasting key, and the secret key of its seals (32 bytes)."""

    origin: str
    tenant: str
    genesis: bytes
    lasting_kid: bytes
    seal: bytes

    def __repr__(self) -> str:
        return f"Owner({self.origin})"


@dataclass(frozen=True, slots=True)
class Segment:
    """A whole segment that was read: its header, its frames, and the SHA-256 of all its bytes."""

    header: SegmentHeader
    frames: tuple[Frame, ...]
    sha256: bytes


# --- writing


def encode_segment(header: SegmentHeader, frames: Sequence[bytes], owner: Owner) -> bytes:
    """Return a segment from encoded frames. `header.size` is set here."""
    size = len(header.encode()) + sum(map(len, frames)) + TRAILER_BYTES
    data = b"".join((replace(header, size=size).encode(), *frames, END, len(frames).to_bytes(8, "big")))
    digest = sha256(data).digest()
    return data + digest + _seal_of(owner.seal, digest)


def _seal_of(key: bytes, digest: bytes) -> bytes:
    return hmac.digest(key, digest, "sha256")


def optional(data: bytes | None) -> bytes:
    """Return `data` after its length in 4 bytes, or FFFFFFFF for None."""
    return _NO_DATA if data is None else length_prefixed(data)


# --- reading


def parse_header(data: bytes) -> SegmentHeader:
    """Return the header at the beginning of a segment, or of its first HEADER_BYTES_MAX bytes. Raises SegmentError."""
    return _header(FieldReader(data))


def parse_segment(data: bytes, owner: Owner) -> Segment:
    """Return the contents of a segment, after its digest, its owner and its seal were compared. Bodies stay sealed.

    Raises:
        SegmentError: NOT_A_SEGMENT, MALFORMED, CUT, TRAILING_BYTES, TOO_LARGE, EDITED, OTHER_TENANT or WRONG_KEY.
    """
    source = FieldReader(data)
    header = _header(source)
    if len(data) < header.size:
        raise SegmentError(ArchiveCode.CUT, f"it has {len(data)} of the {header.size} bytes that its header says")
    if len(data) > header.size:
        raise SegmentError(ArchiveCode.TRAILING_BYTES, f"{len(data) - header.size} bytes follow its end")
    _check_trailer(data, header, owner)
    source.end = len(data) - TRAILER_BYTES
    frames = tuple(_frame(source, header.first + i) for i in range(header.count))
    source.check_end()
    return Segment(header, frames, sha256(data).digest())


def _check_trailer(data: bytes, header: SegmentHeader, owner: Owner) -> None:
    trailer = data[-TRAILER_BYTES:]
    digest = sha256(memoryview(data)[: -2 * DIGEST_BYTES]).digest()
    if trailer[-2 * DIGEST_BYTES : -DIGEST_BYTES] != digest:
        raise SegmentError(ArchiveCode.EDITED, "its bytes do not have the SHA-256 in its trailer")
    if (header.origin, header.tenant, header.genesis) != (owner.origin, owner.tenant, owner.genesis):
        detail = f"it belongs to {quoted(header.origin)} of another genesis or name, want {quoted(owner.origin)}"
        raise SegmentError(ArchiveCode.OTHER_TENANT, detail)
    if header.lasting_kid != owner.lasting_kid:
        detail = "it was sealed with another lasting key: bring the archive keys of the installation that wrote it"
        raise SegmentError(ArchiveCode.WRONG_KEY, detail)
    if not hmac.compare_digest(trailer[-DIGEST_BYTES:], _seal_of(owner.seal, digest)):
        raise SegmentError(ArchiveCode.EDITED, "its seal does not fit its SHA-256: it was changed without the key")
    if trailer[: len(END)] != END or int.from_bytes(trailer[len(END) : len(END) + 8], "big") != header.count:
        raise SegmentError(ArchiveCode.MALFORMED, "its trailer does not count the entries of its header")


class FieldReader:
    """The bytes of a segment up to `end`, taken from start to end."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at, self.end = data, 0, len(data)

    def take(self, count: int) -> bytes:
        """Return the next bytes. Raises SegmentError CUT if there are fewer."""
        begin = self.at
        end = begin + count
        if end > self.end:
            self.left(count)
        self.at = end
        return self.data[begin:end]

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "big")

    def lp(self, bytes_max: int) -> bytes:
        """Return a field after its length. Raises SegmentError TOO_LARGE for a length above `bytes_max`."""
        return self.take(self._bounded(self.number(4), bytes_max))

    def op(self, bytes_max: int) -> bytes | None:
        """Return an optional field. Raises SegmentError as `lp`."""
        data = self.take(4)
        return None if data == _NO_DATA else self.take(self._bounded(int.from_bytes(data, "big"), bytes_max))

    def left(self, size: int) -> int:
        """Return `size` if so many bytes are left. Raises SegmentError CUT."""
        if size > self.end - self.at:
            raise SegmentError(ArchiveCode.CUT, f"a field claims {size} bytes, {self.end - self.at} are left")
        return size

    def check_end(self) -> None:
        """Raise SegmentError MALFORMED unless all bytes were taken."""
        if self.at != self.end:
            raise SegmentError(ArchiveCode.MALFORMED, f"{self.end - self.at} bytes follow the last field")

    def _bounded(self, size: int, bytes_max: int) -> int:
        if size > bytes_max:
            detail = f"a field claims {size} bytes at byte {self.at}, want at most {bytes_max}"
            raise SegmentError(ArchiveCode.TOO_LARGE, detail)
        return size


def _header(source: FieldReader) -> SegmentHeader:
    if source.take(len(MAGIC)) != MAGIC:
        raise SegmentError(ArchiveCode.NOT_A_SEGMENT, f"it does not begin with {MAGIC.decode()}")
    if (version := source.number(2)) != VERSION:
        raise SegmentError(ArchiveCode.NOT_A_SEGMENT, f"its version is {version}, this release reads {VERSION}")
    size = source.number(8)
    if size > SEGMENT_BYTES_MAX:
        detail = f"its header claims {size} bytes, want at most {SEGMENT_BYTES_MAX}"
        raise SegmentError(ArchiveCode.TOO_LARGE, detail)
    origin, tenant = (_text(source.lp(NAME_BYTES_MAX)) for _ in range(2))
    fixed = _FIXED.unpack(source.take(_FIXED.size))
    header = SegmentHeader(
        size=size, origin=origin, tenant=tenant, genesis=fixed[0], first=fixed[1], last=fixed[2],
        first_offset=fixed[3], last_offset=fixed[4], prev=fixed[5], before=fixed[6], month=fixed[7],
        month_kid=fixed[8], lasting_kid=fixed[9], salt=fixed[10], next_offsets=fixed[11:],
    )  # fmt: skip
    if not is_tenant_id(tenant) or not origin.endswith(f"/{tenant}"):
        raise SegmentError(ArchiveCode.MALFORMED, "its origin does not end in its tenant's id")
    if not 0 < header.count <= ENTRIES_MAX or header.first_offset > header.last_offset:
        raise SegmentError(ArchiveCode.MALFORMED, f"it claims entries {header.first} to {header.last}")
    return header


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        raise SegmentError(ArchiveCode.MALFORMED, "its origin or tenant is not UTF-8") from exc


def _frame(source: FieldReader, index: int) -> Frame:
    """Return the next frame. Raises SegmentError with the index of its entry."""
    end = source.end
    try:
        size = source.left(source.number(4))
        source.end = source.at + size
        frame = _fields(source)
        source.check_end()
    except SegmentError as exc:
        raise SegmentError(exc.code, exc.detail, index=index) from exc
    source.end = end
    return frame


def _fields(source: FieldReader) -> Frame:
    offset, time, size = _AUDIT.unpack(source.take(_AUDIT.size))
    if size > ENTRY_BYTES_MAX:
        raise SegmentError(ArchiveCode.TOO_LARGE, f"an entry claims {size} bytes, want at most {ENTRY_BYTES_MAX}")
    value, kid = source.take(size), source.take(DIGEST_BYTES)
    proof, event_proof = source.lp(_PROOF_BYTES_MAX), source.op(_PROOF_BYTES_MAX)
    body, appended_at = _BODY.unpack(source.take(_BODY.size))
    ruling, sealed = source.op(8), source.op(BODY_BYTES_MAX + BODY_OVERHEAD)
    outputs_kind, count = _OUTPUTS.unpack(source.take(_OUTPUTS.size))
    is_sealed = sealed is not None if body == BodyKind.UNREADABLE else body in {BodyKind.MONTHLY, BodyKind.LASTING}
    if body > max(BodyKind) or outputs_kind > max(OutputsKind) or count > OUTPUTS_MAX:
        raise SegmentError(ArchiveCode.MALFORMED, f"got body kind {body}, outputs kind {outputs_kind}, {count} outputs")
    if is_sealed != (sealed is not None) or (ruling is not None and len(ruling) != 8):
        raise SegmentError(ArchiveCode.MALFORMED, "its body or its ruling does not have the form of its kind")
    return Frame(
        offset=offset, time=time, value=value, kid=kid, proof=proof, event_proof=event_proof, body=BodyKind(body),
        appended_at=appended_at, ruling=None if ruling is None else int.from_bytes(ruling, "big"), sealed=sealed,
        outputs_kind=OutputsKind(outputs_kind), outputs=tuple(_output(source) for _ in range(count)),
    )  # fmt: skip


def _output(source: FieldReader) -> StoredOutput:
    topic, partition, offset, size = _OUTPUT.unpack(source.take(_OUTPUT.size))
    if topic >= len(OUTPUT_TOPICS) or partition >= KEYED_PARTITIONS or size > limits.OUTPUT_MESSAGE_BYTES_MAX:
        detail = f"got an output of {size} bytes on partition {partition} of topic {topic}"
        raise SegmentError(ArchiveCode.MALFORMED, detail)
    return StoredOutput(topic, partition, offset, source.take(size))
