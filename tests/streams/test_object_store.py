"""Segments in an object store, over HTTP: a server of moto speaks S3."""

from __future__ import annotations

import secrets
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

from processors.evidence.archive.codes import SegmentError, segment_name
from processors.evidence.archive.segment import HEADER_BYTES_MAX, SEGMENT_BYTES_MAX
from streams.archive.object_store import PROBE, ObjectStore
from streams.archive.places import TenantArchive
from streams.archive.reading import ArchivedLog
from streams.archive.store import FolderStore, StoreError
from tests.archives import KeysInMemory, owner_of, records_of, segments_of
from tests.reference.log_builder import build_log

LOG = build_log()
OWNER = owner_of(LOG)
ARCHIVE = segments_of(records_of(LOG), OWNER, cuts=(5, 9, 20))
NAME = segment_name(0)
SECRET = "a-secret-that-no-message-holds"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "archiver", "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    name = f"evidence-{secrets.token_hex(4)}"
    boto3.client("s3").create_bucket(Bucket=name)
    return name


def test_an_archive_in_an_object_store_is_that_of_a_folder(bucket: str, tmp_path: Path) -> None:
    """The same names, bytes and records; what is stored is never written over."""
    store, folder = ObjectStore(bucket, "acme/archive/"), FolderStore(tmp_path)
    for name, data in ARCHIVE.items():
        assert store.put(name, data) is folder.put(name, data) is True
        assert store.put(name, b"another") is folder.put(name, b"another") is False

    assert store.names() == folder.names() == sorted(ARCHIVE)
    assert store.sizes() == folder.sizes()
    for name in ARCHIVE:
        assert store.get(name) == folder.get(name)
        assert store.start(name) == folder.start(name) == ARCHIVE[name][:HEADER_BYTES_MAX]
    logs = [ArchivedLog(one, OWNER, KeysInMemory()) for one in (store, folder)]
    assert logs[0].span == logs[1].span
    assert list(logs[0].intake(0)) == list(logs[1].intake(0))


@pytest.mark.parametrize(
    "address",
    [f"http://user:{SECRET}@no such host", f"http://user:{SECRET}@127.0.0.1:1", f"{SECRET}@", f"http://[{SECRET}"],
)
def test_no_error_holds_the_credentials_of_the_endpoint(
    bucket: str, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """Neither in its sentence nor in what a log shows of its causes."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    monkeypatch.setattr("streams.archive.object_store.ATTEMPTS", 1)

    for act in (lambda store: store.names(), lambda store: store.get(NAME), lambda store: store.put(NAME, b"")):
        with pytest.raises(StoreError, match="s3://") as raised:
            act(ObjectStore(bucket, "a"))
        assert SECRET not in "".join(traceback.format_exception(raised.value))


def test_a_prefix_is_a_tenants_own(bucket: str) -> None:
    """Neither store sees the other's segments, nor what lies beside them."""
    one, other = ObjectStore(bucket, "one"), ObjectStore(bucket, "other")
    one.put(NAME, b"one")
    boto3.client("s3").put_object(Bucket=bucket, Key="oneself/notes.txt", Body=b"x")

    assert (one.names(), other.names()) == ([NAME], [])
    with pytest.raises(SegmentError, match="LOST_SEGMENT"):
        other.get(NAME)


def test_of_many_that_store_one_name_at_once_one_wins(bucket: str) -> None:
    ready, won = threading.Barrier(6), []

    def put(number: int) -> None:
        store = ObjectStore(bucket, "many")
        ready.wait()
        won.append((store.put(NAME, bytes([number]) * 1000), number))

    threads = [threading.Thread(target=put, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    (winner,) = [number for did, number in won if did]
    assert ObjectStore(bucket, "many").get(NAME) == bytes([winner]) * 1000


def test_a_store_that_writes_over_is_not_used(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older server ignores the condition: it is found out with an object of its own, before a segment is risked."""
    good, bad = ObjectStore(bucket, "good"), ObjectStore(bucket, "bad")
    good.check_conditions()
    assert good.names() == []
    put = bad._client.put_object
    monkeypatch.setattr(
        bad._client, "put_object", lambda **how: put(**{k: v for k, v in how.items() if k != "IfNoneMatch"})
    )

    with pytest.raises(StoreError, match="If-None-Match"):
        bad.check_conditions()
    keys = [one["Key"] for one in boto3.client("s3").list_objects_v2(Bucket=bucket)["Contents"]]
    assert all(key.split("/")[1].startswith(PROBE) for key in keys)


@pytest.mark.parametrize("name", ["../evil.segment", "notes.txt", "..", NAME + "/x", ""])
def test_no_other_name_is_written_or_read(bucket: str, name: str) -> None:
    store = ObjectStore(bucket, "a")
    for act in (lambda: store.put(name, b""), lambda: store.get(name), lambda: store.start(name)):
        with pytest.raises(SegmentError, match="BAD_NAME"):
            act()
    boto3.client("s3").put_object(Bucket=bucket, Key="a/notes.txt", Body=b"x")
    with pytest.raises(SegmentError, match="BAD_NAME"):
        store.names()


def test_a_segment_that_is_too_large_is_not_read_whole(bucket: str) -> None:
    """No more than the bound and one byte crosses the wire."""
    store = ObjectStore(bucket, "large")
    boto3.client("s3").put_object(Bucket=bucket, Key=f"large/{NAME}", Body=bytes(SEGMENT_BYTES_MAX + 10))
    with pytest.raises(SegmentError, match="TOO_LARGE"):
        store.get(NAME)
    boto3.client("s3").put_object(Bucket=bucket, Key=f"large/{segment_name(1)}", Body=b"")
    assert store.get(segment_name(1)) == b""


@pytest.mark.parametrize(
    ("code", "full"), [("SlowDown", False), ("AccessDenied", False), ("QuotaExceeded", True), ("InternalError", False)]
)
def test_an_error_names_its_code_and_no_secret(
    bucket: str, monkeypatch: pytest.MonkeyPatch, code: str, full: bool
) -> None:
    """Whatever the store answers; a full one is told as such, so that nothing is trimmed."""
    store = ObjectStore(bucket, "a")

    def fail(**_: Any) -> None:
        raise ClientError({"Error": {"Code": code, "Message": f"request signed with {SECRET}"}}, "PutObject")

    monkeypatch.setattr(store._client, "put_object", fail)
    with pytest.raises(StoreError, match=code) as error:
        store.put(NAME, b"x")
    assert error.value.is_full is full
    assert SECRET not in f"{error.value} {error.value!r}"


def test_a_store_that_is_away_is_an_error_within_its_time(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    store = ObjectStore(bucket, "a")
    for act in (store.names, store.sizes, lambda: store.get(NAME), lambda: store.put(NAME, b"")):
        with pytest.raises(StoreError, match="EndpointConnectionError"):
            act()


def test_a_bucket_that_is_missing_is_told(bucket: str) -> None:
    with pytest.raises(StoreError, match="NoSuchBucket"):
        ObjectStore(f"{bucket}-not", "a").names()
    assert TenantArchive(ObjectStore(bucket, ""), KeysInMemory(), OWNER).store.names() == []  # type: ignore[arg-type]
