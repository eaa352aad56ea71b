"""Segments in an object store with the S3 API. Credentials come from where boto3 finds them, never from config.json.

A segment is stored by a conditional write (`If-None-Match: *`), so the store itself lets a name be taken once. Give the
process `s3:ListBucket`, `s3:GetObject` and `s3:PutObject`, and no right to delete; a bucket with object lock keeps
segments from everybody.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from processors.evidence.archive.codes import ArchiveCode, SegmentError, first_of
from processors.evidence.archive.segment import HEADER_BYTES_MAX, SEGMENT_BYTES_MAX
from streams.archive.store import SEGMENTS_MAX, StoreError

CONNECT_SECONDS = 5.0
READ_SECONDS = 60.0  # for one answer; a segment has at most 64 MiB
ATTEMPTS = 3
_MISSING = frozenset({"NoSuchKey", "404"})
_TAKEN = frozenset({"PreconditionFailed", "412"})
_FULL = frozenset({"QuotaExceeded", "XMinioStorageFull", "InsufficientCapacity", "507"})
_EMPTY = frozenset({"InvalidRange", "416"})


class S3Store:
    """A prefix of a bucket."""

    def __init__(self, bucket: str, prefix: str, *, endpoint: str | None = None) -> None:
        """Name the place; nothing is asked yet. `endpoint` is the address of a store that is not AWS."""
        self._bucket, self._prefix = bucket, f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        retries = {"mode": "standard", "total_max_attempts": ATTEMPTS}
        config = Config(connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, retries=retries)
        try:
            self._client: Any = boto3.client("s3", endpoint_url=endpoint, config=config)
        except (BotoCoreError, ValueError) as exc:
            raise StoreError(f"{self} cannot be used: {exc}") from exc

    def __str__(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}"

    def names(self) -> list[str]:
        """Return the names of all segments, in order. Raises SegmentError, StoreError."""
        found = [name for name, _ in self._listed()]
        for name in found:
            first_of(name)
        return sorted(found)

    def get(self, name: str) -> bytes:
        """Return a whole segment. Raises SegmentError, StoreError."""
        return self._read(name, SEGMENT_BYTES_MAX)

    def start(self, name: str) -> bytes:
        """Return the beginning of a segment. Raises SegmentError, StoreError."""
        return self._read(name, HEADER_BYTES_MAX, Range=f"bytes=0-{HEADER_BYTES_MAX - 1}")

    def put(self, name: str, data: bytes) -> bool:
        """Store a segment; False if the name is taken. Raises SegmentError, StoreError."""
        first_of(name)
        try:
            self._client.put_object(Bucket=self._bucket, Key=self._prefix + name, Body=data, IfNoneMatch="*")
        except ClientError as exc:
            if _code(exc) in _TAKEN:
                return False
            raise self._failed(f"does not take {name}", exc) from exc
        except BotoCoreError as exc:
            raise self._failed(f"does not take {name}", exc) from exc
        return True

    def sizes(self) -> int:
        """Return the bytes of all segments together. Raises StoreError."""
        return sum(size for _, size in self._listed())

    def _listed(self) -> Iterator[tuple[str, int]]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
        count = 0
        try:
            for page in pages:
                for one in page.get("Contents", ()):
                    count += 1
                    if count > SEGMENTS_MAX:
                        raise StoreError(f"{self} has more than {SEGMENTS_MAX} objects: it is not an archive")
                    yield str(one["Key"]).removeprefix(self._prefix), int(one["Size"])
        except (BotoCoreError, ClientError) as exc:
            raise self._failed("cannot be listed", exc) from exc

    def _read(self, name: str, bytes_max: int, **how: str) -> bytes:
        first_of(name)
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + name, **how)
            with answer["Body"] as body:
                size = int(answer["ContentLength"])
                if size > bytes_max:
                    detail = f"it has {size} bytes, want at most {bytes_max}"
                    raise SegmentError(ArchiveCode.TOO_LARGE, detail, segment=name)
                return bytes(body.read(bytes_max))
        except ClientError as exc:
            if _code(exc) in _MISSING:
                raise SegmentError(ArchiveCode.LOST_SEGMENT, "it is not there any more", segment=name) from exc
            if _code(exc) in _EMPTY:
                return b""  # an object without a byte has no range
            raise self._failed(f"does not give {name}", exc) from exc
        except BotoCoreError as exc:
            raise self._failed(f"does not give {name}", exc) from exc

    def _failed(self, what: str, exc: Exception) -> StoreError:
        """Return the error for a store that does not do its part. Answers of the store hold no credentials."""
        code = _code(exc) if isinstance(exc, ClientError) else type(exc).__name__
        is_full = code in _FULL
        advice = "make room" if is_full else "see whether it is there, and what these credentials may do"
        return StoreError(f"{self} {what}: {code}; {advice}", is_full=is_full)


def _code(exc: ClientError) -> str:
    return str(exc.response.get("Error", {}).get("Code", ""))
