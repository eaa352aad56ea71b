"""The folder in which evidence travels: its files, byte for byte, in both directions.

    manifest.json             RFC 8785: format, origin, tenant, genesis, size, last, files {name: SHA-256}
    entries.bin               u32 length ‖ entry, for each entry, in order
    proofs.bin                u32 length ‖ kid (32) ‖ macaw-proof of the audit record, for each entry
    events.bin                u32 length ‖ u8 kind ‖ ..., for each entry: its record on intake
                                  0: none: it is gone from intake, or was larger than any event may be
                                  1: schema_sha256 ‖ kid ‖ lp(macaw-proof) ‖ lp(body)
                                  2: the record's bytes: they did not decode, or had no usable proof
    registry.bin              u32 length ‖ u64 audit index ‖ the form of kind 1, for each accepted registry event; those
                              of sessions may be absent in both files
    schemas/<sha256>.avsc     the JCS text of every schema that the above were written under

All numbers are big-endian; lp(x) is u32 length ‖ x. This module reads and writes the format without judging it, as
`processors.evidence.verdict` does, and without a disk: a folder to write is a stream of (file name, piece), a folder to
read a `Folder`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from processors.evidence.known_keys import SESSION_KINDS
from processors.intake.identify import Received
from processors.proof import jcs
from processors.proof.signing import KEY_BYTES, KID_HEADER, PROOF_HEADER, length_prefixed
from processors.text.characters import quoted
from schemas import codec, limits
from schemas.errors import EvidenceError
from schemas.events.keys import RootAct
from schemas.records import AuditEntry, Event
from schemas.words import Outcome

FORMAT = "macaw-evidence/v1"
MANIFEST = "manifest.json"
ENTRIES, PROOFS, EVENTS, REGISTRY = DATA_FILES = ("entries.bin", "proofs.bin", "events.bin", "registry.bin")
SCHEMA_PREFIX, SCHEMA_SUFFIX = "schemas/", ".avsc"

ABSENT, SIGNED, RAW = 0, 1, 2
NO_EVENT = length_prefixed(bytes([ABSENT]))  # as it stands in events.bin
UNDECODABLE_KIND = "Undecodable"
# The events that `processors.identity.following` folds: from them a reader knows which key was valid at which entry.
REGISTRY_KINDS = frozenset(
    {"TenantFounded", "AdminAdded", "AdminRemoved", "RootRotated", "KeyRotated", "EngineActivated"}
    | {"PrincipalRegistered", "PrincipalRevoked", "IdentityProviderTrusted", "IdentityProviderDistrusted"}
    | SESSION_KINDS
)

MANIFEST_BYTES_MAX = 64 * 1024
SCHEMA_BYTES_MAX = 256 * 1024
ENTRY_BYTES_MAX = 65_535  # the bound of a tlog-tiles entry bundle
PROOF_RECORD_BYTES_MAX = 1024
EVENT_RECORD_BYTES_MAX = limits.INTAKE_MESSAGE_BYTES_MAX + 256  # the broker's bound, and our own lengths


class FormatError(EvidenceError):
    """Bytes of a folder do not have the form that its format demands."""


class Folder(Protocol):
    """A folder to judge. Names are relative, with `/`; the bytes of a file come in pieces of any size."""

    def names(self) -> Collection[str]:
        """Return the names of all files in it."""
        ...

    def read(self, name: str) -> Iterator[bytes]:
        """Yield the bytes of one file. Requires a name from `names`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The contents of a folder: `size` entries, `last` the log leaf of the last one, `files` with their SHA-256."""

    origin: str
    tenant: str
    genesis: bytes
    size: int
    last: bytes
    files: dict[str, bytes]

    @property
    def deployment(self) -> str:
        """The part of the origin before the tenant."""
        return self.origin.removesuffix(f"/{self.tenant}")

    def encode(self) -> bytes:
        """Return the RFC 8785 text of this manifest."""
        return jcs.canonical(
            {
                "files": {name: digest.hex() for name, digest in self.files.items()},
                "format": FORMAT,
                "genesis": self.genesis.hex(),
                "last": self.last.hex(),
                "origin": self.origin,
                "size": self.size,
                "tenant": self.tenant,
            }
        )

    @classmethod
    def parse(cls, text: bytes) -> Manifest:
        """Read a manifest. Raises FormatError unless `text` is exactly the result of `encode` for it."""
        try:
            value = jcs.parse_strict(text)
        except jcs.MalformedJSONError as exc:
            raise FormatError(f"the manifest is {exc}") from exc
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise FormatError(f"the manifest is not an object with format {quoted(FORMAT)}")
        size, files = value.get("size"), value.get("files")
        if type(size) is not int or size < 1 or not isinstance(files, dict):
            raise FormatError("the manifest needs `size`, an integer of at least 1, and `files`, an object")
        manifest = cls(
            origin=_text(value.get("origin")),
            tenant=_text(value.get("tenant")),
            genesis=_digest(value.get("genesis")),
            size=size,
            last=_digest(value.get("last")),
            files={name: _digest(digest) for name, digest in files.items()},
        )
        if manifest.encode() != text:
            raise FormatError("the manifest is not in RFC 8785 form, or has unknown members")
        if manifest.origin != f"{manifest.deployment}/{manifest.tenant}":
            raise FormatError("the manifest's origin does not end in its tenant")
        return manifest


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise FormatError("origin, tenant, genesis, last and each digest in the manifest must be strings")
    return value


def _digest(value: object) -> bytes:
    text = _text(value)
    if len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise FormatError("genesis, last and each digest in the manifest must be 64 lower-case hex digits")
    return bytes.fromhex(text)


@dataclass(frozen=True, slots=True)
class EvidenceEvent:
    """An event with its schema, kid and proof: all that a check of its signature needs."""

    schema_sha256: bytes
    kid: bytes
    proof: bytes
    body: bytes

    def encode(self) -> bytes:
        """Return the bytes of the event as they stand in `events.bin` and `registry.bin`."""
        return self.schema_sha256 + self.kid + length_prefixed(self.proof) + length_prefixed(self.body)

    @classmethod
    def parse(cls, data: bytes) -> EvidenceEvent:
        """Read the bytes that `encode` returns. Raises FormatError unless they are the whole of `data`."""
        proof, rest = _split(data[64:])
        body, rest = _split(rest)
        if rest:
            raise FormatError(f"{len(rest)} bytes follow the event")
        return cls(data[:32], data[32:64], proof, body)


def _split(data: bytes) -> tuple[bytes, bytes]:
    """Return one length-prefixed field and the bytes behind it. Raises FormatError if the field is not whole."""
    end = 4 + int.from_bytes(data[:4], "big")
    if len(data) < 4 or len(data) < end:
        raise FormatError("a field is shorter than its length says")
    return data[4:end], data[end:]


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """A record of the audit topic: framed entry and its two headers; b"" if a header is missing."""

    value: bytes
    kid: bytes
    proof: bytes


@dataclass(frozen=True, slots=True)
class RegistryEvent:
    """An accepted registry event and the index of its entry."""

    index: int
    event: EvidenceEvent

    def encode(self) -> bytes:
        return self.index.to_bytes(8, "big") + self.event.encode()

    @classmethod
    def parse(cls, data: bytes) -> RegistryEvent:
        """Read the bytes that `encode` returns. Raises FormatError for other bytes."""
        return cls(int.from_bytes(data[:8], "big"), EvidenceEvent.parse(data[8:]))


def schema_file(digest: bytes) -> str:
    """Return the name of a schema's file in a folder."""
    return f"{SCHEMA_PREFIX}{digest.hex()}{SCHEMA_SUFFIX}"


class Source:
    """One file of a folder, read once from start to end, hashed on the way."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._buffer = b""
        self._at = 0
        self._hash = sha256()

    def _fill(self, count: int) -> int:
        """Buffer `count` bytes, or the rest of the file if that is shorter; return the number of buffered bytes."""
        have = len(self._buffer) - self._at
        if have >= count:
            return have
        pieces = [self._buffer[self._at :]]
        while have < count and (chunk := next(self._chunks, None)) is not None:
            self._hash.update(chunk)
            pieces.append(chunk)
            have += len(chunk)
        self._buffer, self._at = b"".join(pieces), 0
        return have

    def record(self, bytes_max: int) -> bytes | None:
        """Return the next length-prefixed record, or None at the end of the file.

        Raises:
            EOFError: the file ends inside the record.
            FormatError: the record claims to be longer than `bytes_max`; nothing of it was read.
        """
        have = self._fill(4)
        if not have:
            return None
        size = int.from_bytes(self._buffer[self._at : self._at + 4], "big")
        if have >= 4 and size > bytes_max:
            raise FormatError(f"a record claims {size} bytes, want at most {bytes_max}")
        if self._fill(4 + size) < 4 + size:
            raise EOFError("the file ends inside a record")
        start = self._at + 4
        self._at = start + size
        return self._buffer[start : self._at]

    def whole(self, bytes_max: int) -> bytes:
        """Return the rest of the file. Raises FormatError if that is more than `bytes_max` bytes."""
        if self._fill(bytes_max + 1) > bytes_max:
            raise FormatError(f"the file is larger than {bytes_max} bytes")
        rest, self._at = self._buffer[self._at :], len(self._buffer)
        return rest

    @property
    def at_end(self) -> bool:
        """True if every byte was taken as part of a record."""
        return self._fill(1) == 0

    def digest(self) -> bytes:
        """Read the rest and return the SHA-256 of the whole file."""
        for chunk in self._chunks:
            self._hash.update(chunk)
        return self._hash.digest()


def seals(source: Source, bytes_max: int) -> Iterable[bytes | None]:
    """Yield the records of a file that has one for each entry; None for ever once it ends or is broken."""
    while True:
        try:
            record = source.record(bytes_max)
        except (EOFError, FormatError):
            break
        if record is None:
            break
        yield record
    while True:
        yield None


def read_event(entry: AuditEntry, received: Received) -> tuple[EvidenceEvent | None, Event] | None:
    """Return the event of an intake record, None if it does not decode. Without one proof and one kid it is not signed.

    The monitor may say that it decodes although it does not: its bytes then travel as they are, for the verifier.
    """
    if received.value is None or entry.kind == UNDECODABLE_KIND:
        return None
    try:
        schema, body = codec.unframe(received.value)
        event: Event = codec.decode(schema, body)
    except codec.SchemaError:
        return None
    kids, proofs = ([v for n, v in received.headers if n == name] for name in (KID_HEADER, PROOF_HEADER))
    kid, proof = (found[0] if len(found) == 1 else None for found in (kids, proofs))
    if kid is None or proof is None or len(kid) != KEY_BYTES:
        return None, event
    return EvidenceEvent(schema.sha256, kid, proof, body), event


def event_record(signed: EvidenceEvent | None, received: Received | None) -> bytes:
    """Return the record of an entry in `events.bin`, without its length. `signed` is from `read_event`."""
    if received is None:
        return bytes([ABSENT])
    record = bytes([SIGNED]) + signed.encode() if signed else bytes([RAW]) + (received.value or b"")
    # A compressed batch can bring a record of any size past the broker. It was refused; no reader must hold it.
    return record if len(record) <= EVENT_RECORD_BYTES_MAX else bytes([ABSENT])


def is_registry_entry(entry: AuditEntry) -> bool:
    """Return True if the entry says that the registry changed."""
    return entry.outcome == Outcome.ACCEPTED and entry.kind in REGISTRY_KINDS


def acts_of(event: Event) -> tuple[bytes, ...]:
    """Return the schema digests that stand inside an event: that of a root act, or none."""
    return (event.body.act[:32],) if isinstance(event.body, RootAct) else ()
