r"""The bodies of an archive: which key seals an intake record, the sealed form, and the check against its audit entry.

    body   = op(key) ‖ op(value) ‖ u8 n ‖ n * (lp(name) ‖ op(value))                     Kafka key, value and headers
    sealed = AES-256-GCM(K, nonce = u32 0 ‖ u64 index, body, associated data)
    K      = HMAC-SHA256(key of the month, or for bodies that stay of the archive, salt of the segment)
    associated data = "macaw/archive-body/v1\n" ‖ genesis ‖ u64 index ‖ u64 offset ‖ i64 append time ‖ event

A salt is random for each segment, so no key meets one nonce twice, even if two archivers write the same entry.
An intake record counts only if its leaf is the `event` of its audit entry: the monitor signed that leaf.
"""

from __future__ import annotations

import functools
import hmac
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import NamedTuple, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from processors.evidence.archive.codes import ArchiveCode, SegmentError
from processors.evidence.archive.segment import (
    BODY_BYTES_MAX,
    BodyKind,
    FieldReader,
    Frame,
    Owner,
    SegmentHeader,
    optional,
)
from processors.evidence.folder_format import REGISTRY_KINDS, UNDECODABLE_KIND, is_registry_entry
from processors.evidence.known_keys import SESSION_KINDS
from processors.intake.identify import Received, raw_digest
from processors.proof import signing
from processors.proof.signing import INTAKE_PARTITION, Place, length_prefixed
from schemas import codec, limits
from schemas.records import AuditEntry
from schemas.topics import INTAKE
from schemas.words import Outcome

KEY_BYTES = 32
LOG_TIME_MAX = 253_402_300_800_000  # ms, the end of the year 9999
_TAG = b"macaw/archive-body/v1\n"
_KID_TAG = b"macaw/archive-kid/v1\n"
_SEAL_TAG = b"macaw/archive-seal/v1\n"
_LASTING_TAG = b"macaw/archive-lasting/v1\n"
_FOUNDED = "TenantFounded"
_PLACE = struct.Struct(">QQq")
# Sessions hold what a provider says of a person, and live a day: they leave with their month.
LASTING_KINDS = REGISTRY_KINDS - SESSION_KINDS


class BodyKeys(Protocol):
    """The keys of an installation. `lasting` is never destroyed; each month has one of its own."""

    @property
    def lasting(self) -> bytes:
        """The lasting key, 32 bytes."""
        ...

    def of_month(self, month: int) -> bytes | None:
        """Return the key of a month, None if it was destroyed. Raises SegmentError WRONG_KEY if it is not here."""
        ...


class Absent(NamedTuple):
    """The place and the leaf of an intake record without its bytes.

    `was_shredded`: its key was destroyed. `ruling` is the event that skipped an unreadable one, with this leaf.
    """

    offset: int
    leaf: bytes
    kind: BodyKind
    was_shredded: bool = False
    ruling: Received | None = None


@dataclass(frozen=True, slots=True, repr=False)
class SegmentKeys:
    """The body keys of one segment; `monthly` is None once that month's key was destroyed."""

    lasting: bytes
    monthly: bytes | None


def key_id(key: bytes) -> bytes:
    """Return the 16 bytes that name a key in a header."""
    return sha256(_KID_TAG + key).digest()[:16]


def seal_key(lasting: bytes) -> bytes:
    """Return the key of the segments' seals, derived from the lasting key."""
    return hmac.digest(lasting, _SEAL_TAG, "sha256")


def lasting_body_key(lasting: bytes) -> bytes:
    """Return the key of the bodies that stay, derived from the lasting key."""
    return hmac.digest(lasting, _LASTING_TAG, "sha256")


def month_of(log_time: int) -> int:
    """Return the month of a log time in ms, in UTC: year * 12 + month - 1. Raises SegmentError MALFORMED."""
    if not 0 <= log_time < LOG_TIME_MAX:
        raise SegmentError(ArchiveCode.MALFORMED, f"{log_time} is not a log time before the year 10000")
    when = datetime.fromtimestamp(log_time // 1000, UTC)
    return when.year * 12 + when.month - 1


def month_text(month: int) -> str:
    """Return a month as YYYY-MM."""
    return f"{month // 12:04d}-{month % 12 + 1:02d}"


def month_end_ms(month: int) -> int:
    """Return the first log time, in ms, after a month."""
    after = month + 1
    return int(datetime(after // 12, after % 12 + 1, 1, tzinfo=UTC).timestamp()) * 1000


def keys_for(header: SegmentHeader, keys: BodyKeys) -> SegmentKeys:
    """Return the keys of a segment. Raises SegmentError WRONG_KEY if this installation has another key of its month."""
    monthly = keys.of_month(header.month)
    if monthly is not None and key_id(monthly) != header.month_kid:
        detail = f"it was sealed with another key of {month_text(header.month)} than the one here"
        raise SegmentError(ArchiveCode.WRONG_KEY, detail, segment=header.name)
    return SegmentKeys(lasting_body_key(keys.lasting), monthly)


def event_leaf(entry: AuditEntry, value: bytes | None, owner: Owner) -> bytes:
    """Return the leaf of an intake record's value as its entry's kind says: the digest that `entry.event` must be.

    It is computed without decoding the datum.
    """
    if entry.kind == UNDECODABLE_KIND:
        return raw_digest(value)
    return signed_leaf(value, owner, is_founding=entry.kind == _FOUNDED)


def signed_leaf(value: bytes | None, owner: Owner, *, is_founding: bool = False) -> bytes:
    """Return the leaf of an event as it is signed, for bytes that are not framed the digest of undecodable ones."""
    try:
        schema, body = codec.unframe(value or b"")
    except codec.SchemaError:
        return raw_digest(value)
    return _place(owner.tenant, signing.NO_GENESIS if is_founding else owner.genesis, schema.sha256).leaf(body)


@functools.lru_cache(maxsize=4096)
def _place(tenant: str, genesis: bytes, schema_sha256: bytes) -> Place:
    return Place.of(signing.EVENT_TAG, genesis, INTAKE.of(tenant), INTAKE_PARTITION, schema_sha256)


class Body(NamedTuple):
    """An intake record apart from its place: Kafka key, value and headers."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]

    def encode(self) -> bytes:
        """Return the plain bytes of the body."""
        headers = self.headers
        parts = [optional(self.key), optional(self.value), bytes([len(headers)])]
        for name, value in headers:
            parts += (length_prefixed(name.encode()), optional(value))
        return b"".join(parts)

    @classmethod
    def parse(cls, data: bytes) -> Body:
        """Read the bytes that `encode` returns. Raises SegmentError."""
        source = FieldReader(data)
        key, value, count = source.op(BODY_BYTES_MAX), source.op(BODY_BYTES_MAX), source.number(1)
        headers = [(_name(source.lp(BODY_BYTES_MAX)), source.op(BODY_BYTES_MAX)) for _ in range(count)]
        source.check_end()
        if count > limits.HEADERS_MAX:
            raise SegmentError(ArchiveCode.MALFORMED, f"a body has {count} headers, want at most {limits.HEADERS_MAX}")
        return cls(key, value, headers)


def _name(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        raise SegmentError(ArchiveCode.MALFORMED, "the name of a record's header is not UTF-8") from exc


def kind_of(entry: AuditEntry) -> BodyKind:
    """Return how a body that is there is kept; a registration for ever: no later signature can be judged without it."""
    if entry.outcome == Outcome.SKIPPED:
        return BodyKind.UNREADABLE
    return BodyKind.LASTING if is_registry_entry(entry) and entry.kind in LASTING_KINDS else BodyKind.MONTHLY


class BodySealer:
    """Seals and opens the bodies of one segment."""

    def __init__(self, genesis: bytes, salt: bytes, keys: SegmentKeys) -> None:
        self._place_prefix = _TAG + genesis
        self._lasting = _cipher(keys.lasting, salt)
        self._monthly = None if keys.monthly is None else _cipher(keys.monthly, salt)

    def seal(self, entry: AuditEntry, body: Body, appended_at: int) -> tuple[BodyKind, bytes | None]:
        """Return how a body is kept, and its sealed form; None for one that no segment holds.

        Such a one is OVERSIZED if it was refused; any other, as by large headers, counts as gone.
        The body of an entry of a skipped record is its ruling. Requires a month's key.
        """
        data = body.encode()
        kind = kind_of(entry)
        if len(data) > BODY_BYTES_MAX:
            kind = kind if kind is BodyKind.UNREADABLE else BodyKind.GONE
            return BodyKind.OVERSIZED if entry.outcome == Outcome.REFUSED else kind, None
        cipher = self._lasting if kind is BodyKind.LASTING else self._monthly
        assert cipher is not None
        return kind, cipher.encrypt(_nonce(entry), data, self._place(entry, appended_at))

    def open(self, entry: AuditEntry, frame: Frame) -> Body | None:
        """Return the body of a frame, None if it is not there or its key was destroyed.

        Raises:
            SegmentError: WRONG_KEY if the key does not open it.
        """
        cipher = self._lasting if frame.body is BodyKind.LASTING else self._monthly
        if frame.sealed is None or cipher is None:
            return None
        try:
            data = cipher.decrypt(_nonce(entry), frame.sealed, self._place(entry, frame.appended_at))
        except InvalidTag as exc:
            raise SegmentError(ArchiveCode.WRONG_KEY, "the key does not open the body", index=entry.index) from exc
        return Body.parse(data)

    def _place(self, entry: AuditEntry, appended_at: int) -> bytes:
        numbers = _PLACE.pack(entry.index, entry.offset, appended_at)
        return self._place_prefix + numbers + entry.event


def _cipher(key: bytes, salt: bytes) -> AESGCM:
    return AESGCM(hmac.digest(key, salt, "sha256"))


def _nonce(entry: AuditEntry) -> bytes:
    return entry.index.to_bytes(12, "big")
