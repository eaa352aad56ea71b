"""Segments in an object store that speaks Amazon's S3 API, such as MinIO or Ceph. Needs the extra `s3`.

A segment is put with `If-None-Match: *`, so that of two archivers one is refused and nothing is written over
(conditional writes, in S3 since 2024). A store that does not know the condition is found out before it is used.
Credentials and the endpoint come from the environment, as every S3 client reads them (`AWS_ACCESS_KEY_ID`,
`AWS_ENDPOINT_URL`, …): none stands in config.json.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from processors.evidence.archive.codes import ArchiveCode, SegmentError, first_of
from processors.evidence.archive.segment import HEADER_BYTES_MAX, SEGMENT_BYTES_MAX
from streams.archive.store import SEGMENTS_MAX, StoreError

CONNECT_SECONDS = 5
READ_SECONDS = 30
ATTEMPTS = 3
PROBE = ".probe"  # the beginning of the names that are tried out; they are no segments
_TAKEN = {"PreconditionFailed", "ConditionalRequestConflict"}
_MISSING = {"NoSuchKey", "404"}
_FULL = {"EntityTooLarge", "QuotaExceeded", "XMinioStorageFull", "InsufficientStorage"}


class ObjectStore:
    """The objects below one prefix of a bucket."""

    def __init__(self, bucket: str, prefix: str) -> None:
        """Open the store. Raises StoreError if it does not answer, or would write over a segment."""
        self._bucket, self._prefix = bucket, f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self.name = f"s3://{bucket}/{self._prefix}"
        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"max_attempts": ATTEMPTS, "mode": "standard"},
        )
        try:
            self._client: Any = boto3.client("s3", config=config)
        except (BotoCoreError, ValueError) as exc:
            why = type(exc).__name__  # its text may hold the credentials in AWS_ENDPOINT_URL
            raise StoreError(
                f"{self.name} cannot be opened: {why}; check AWS_REGION, AWS_ENDPOINT_URL and the credentials"
            ) from None

    def check_conditions(self) -> None:
        """Raise StoreError if the store writes over an object although the condition forbids it.

        Called before the first segment is put. It leaves one object of a random name, which is never written again:
        the archive's rights do not include deletion.
        """
        name = f"{PROBE}.{secrets.token_hex(8)}"
        self._put(name, b"")
        if self._put(name, b""):
            raise StoreError(f"{self.name} ignores If-None-Match: two archivers could write over each other's segments")

    def names(self) -> list[str]:
        """Return the names of all segments, in order. Raises SegmentError, StoreError."""
        found = [name for name, _ in self._listed()]
        for name in found:
            first_of(name)
        return sorted(found)

    def get(self, name: str) -> bytes:
        """Return a whole segment. Raises SegmentError, StoreError."""
        first_of(name)
        data = self._read(name, SEGMENT_BYTES_MAX + 1)
        if len(data) > SEGMENT_BYTES_MAX:
            detail = f"it has more than {SEGMENT_BYTES_MAX} bytes"
            raise SegmentError(ArchiveCode.TOO_LARGE, detail, segment=name)
        return data

    def start(self, name: str) -> bytes:
        """Return the beginning of a segment. Raises SegmentError, StoreError."""
        first_of(name)
        return self._read(name, HEADER_BYTES_MAX)

    def put(self, name: str, data: bytes) -> bool:
        """Store a segment; False if the name is taken. Raises SegmentError, StoreError."""
        first_of(name)
        return self._put(name, data)

    def sizes(self) -> int:
        """Return the bytes of all segments together. Raises StoreError."""
        return sum(size for _, size in self._listed())

    def _put(self, name: str, data: bytes) -> bool:
        try:
            self._client.put_object(Bucket=self._bucket, Key=self._prefix + name, Body=data, IfNoneMatch="*")
        except ClientError as exc:
            if _code(exc) in _TAKEN:
                return False
            raise self._failed(f"does not take {name}", exc) from None
        except BotoCoreError as exc:
            raise self._failed(f"does not take {name}", exc) from None
        return True

    def _read(self, name: str, bytes_max: int) -> bytes:
        """Return at most so many bytes; the rest of the object is not asked for."""
        try:
            answer = self._client.get_object(
                Bucket=self._bucket, Key=self._prefix + name, Range=f"bytes=0-{bytes_max - 1}"
            )
            with answer["Body"] as body:
                data: bytes = body.read(bytes_max)
                return data
        except ClientError as exc:
            if _code(exc) in _MISSING:
                raise SegmentError(ArchiveCode.LOST_SEGMENT, "it is not there any more", segment=name) from exc
            if _code(exc) == "InvalidRange":  # an object of no bytes has no first byte
                return b""
            raise self._failed(f"does not give {name}", exc) from None
        except BotoCoreError as exc:
            raise self._failed(f"does not give {name}", exc) from None

    def _listed(self) -> Iterator[tuple[str, int]]:
        """Yield (name, size) of each object below the prefix that is not a probe."""
        count = 0
        try:
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
            for page in pages:
                for one in page.get("Contents", ()):
                    count += 1
                    if count > SEGMENTS_MAX:
                        raise StoreError(f"{self.name} has more than {SEGMENTS_MAX} objects: it is not an archive")
                    name = one["Key"].removeprefix(self._prefix)
                    if not name.startswith(PROBE):
                        yield name, one["Size"]
        except (ClientError, BotoCoreError) as exc:
            raise self._failed("cannot be listed", exc) from None

    def _failed(self, what: str, exc: ClientError | BotoCoreError) -> StoreError:
        """Return the error without the request, which may hold credentials."""
        code = _code(exc) if isinstance(exc, ClientError) else type(exc).__name__
        is_full = code in _FULL
        advice = "make room, or name another place in config.json" if is_full else "check its address and its rights"
        return StoreError(f"{self.name} {what}: {code}; {advice}", is_full=is_full)


def _code(exc: ClientError) -> str:
    return str(exc.response.get("Error", {}).get("Code", "no code"))
