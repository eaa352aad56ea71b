"""Large bodies: a record names a body by its digest, and the body travels beside the log in sealed chunks."""

from __future__ import annotations

from schemas.record import record


@record
class BodyReference:
    """A body by its salted SHA-256, its size in bytes, and the number of its chunks."""

    digest: bytes
    size: int
    chunks: int


@record
class BodyChunk:
    """One chunk of a body; its payload travels sealed in the record's header."""

    body: bytes
    session_id: bytes
    index: int
    is_last: bool
    payload_sha256: bytes
