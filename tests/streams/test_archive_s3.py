"""An object store behind the same port: moto's server, spoken to over real HTTP."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from processors.evidence.archive.codes import SegmentError, segment_name
from processors.evidence.archive.segment import SEGMENT_BYTES_MAX
from processors.evidence.archive.verdict import verify_archive
from producers.home.home import Home
from streams.archive.places import ArchivePlaceError, open_store
from streams.archive.reading import ArchivedLog
from streams.archive.s3 import S3Store
from streams.archive.store import StoreError
from tests.archives import KeysInMemory, owner_of, records_of, segments_of
from tests.reference.log_builder import build_log

LOG = build_log()
OWNER = owner_of(LOG)
RECORDS = records_of(LOG)
ARCHIVE = segments_of(RECORDS, OWNER, cuts=(5, 9, 20))
NAME = segment_name(0)
SECRET = "not-to-be-shown-anywhere"


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        # Its state is that of the process, not of the server.
        urllib.request.urlopen(
            f"{url}/moto-api/reset", data=b""
        ).close()
        boto3.client("s3", endpoint_url=url).create_bucket(Bucket="evidence")
        yield url
    finally:
        server.stop()


@pytest.fixture
def store(endpoint: str) -> S3Store:
    return S3Store("evidence", "macaw/acme", endpoint=endpoint)


def test_an_archive_in_an_object_store_is_read_and_verified_as_in_a_folder(store: S3Store) -> None:
    assert store.names() == []
    for name, data in ARCHIVE.items():
        assert store.put(name, data)
    assert store.names() == sorted(ARCHIVE)
    assert store.sizes() == sum(map(len, ARCHIVE.values()))
    assert store.start(NAME) == ARCHIVE[NAME][:1024]

    log = ArchivedLog(store, OWNER, KeysInMemory())
    assert [one.offset for one in log.intake(7)] == [r.entry.offset for r in RECORDS if r.entry.offset >= 7]
    verdict = verify_archive(lambda: ((n, store.get(n)) for n in store.names()), OWNER, KeysInMemory())
    assert (verdict.code, verdict.entries) == ("WHOLE", len(RECORDS))


def test_a_name_is_taken_once_whoever_comes_first(endpoint: str) -> None:
    stores = [S3Store("evidence", "p", endpoint=endpoint) for _ in range(6)]
    ready, won = threading.Barrier(6), []

    def put(number: int) -> None:
        ready.wait()
        won.append((stores[number].put(NAME, bytes([number]) * 1000), number))

    threads = [threading.Thread(target=put, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [number for did, number in won if did]
    assert stores[0].get(NAME) == bytes([winner]) * 1000


def test_tenants_and_prefixes_are_apart(endpoint: str) -> None:
    one, other = (S3Store("evidence", f"macaw/{tenant}", endpoint=endpoint) for tenant in ("acme", "acme-2"))
    one.put(NAME, b"one")
    assert other.names() == []
    assert other.put(NAME, b"other")
    assert one.get(NAME) == b"one"


@pytest.mark.parametrize("name", ["../evil.segment", "notes.txt", "", NAME + "/x"])
def test_no_other_name_is_written_or_read(store: S3Store, name: str) -> None:
    for act in (lambda: store.put(name, b""), lambda: store.get(name), lambda: store.start(name)):
        with pytest.raises(SegmentError, match="BAD_NAME"):
            act()


def test_what_does_not_belong_there_is_named(endpoint: str, store: S3Store) -> None:
    client = boto3.client("s3", endpoint_url=endpoint)
    client.put_object(Bucket="evidence", Key="macaw/acme/../x", Body=b"")
    with pytest.raises(SegmentError, match="BAD_NAME"):
        store.names()


def test_a_missing_an_empty_and_a_huge_object_are_told_apart(
    endpoint: str, store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SegmentError, match="LOST_SEGMENT"):
        store.get(NAME)
    client = boto3.client("s3", endpoint_url=endpoint)
    client.put_object(Bucket="evidence", Key=f"macaw/acme/{NAME}", Body=b"")
    assert store.start(NAME) == store.get(NAME) == b""
    client.put_object(Bucket="evidence", Key=f"macaw/acme/{NAME}", Body=bytes(5000))
    monkeypatch.setattr("streams.archive.s3.SEGMENT_BYTES_MAX", 4999)
    with pytest.raises(SegmentError, match="TOO_LARGE"):
        store.get(NAME)
    assert SEGMENT_BYTES_MAX > 5000


def test_a_store_that_is_away_says_so_without_a_secret(endpoint: str) -> None:
    for store in (S3Store("nowhere", "p", endpoint=endpoint), S3Store("evidence", "p", endpoint="http://127.0.0.1:9")):
        for act in (store.names, lambda s=store: s.get(NAME), lambda s=store: s.put(NAME, b"")):
            with pytest.raises((StoreError, SegmentError)) as caught:
                act()
            assert SECRET not in str(caught.value)
            assert "s3://" in str(caught.value)


def test_the_place_in_the_configuration_opens_it(endpoint: str, tmp_path: Path) -> None:
    settings = {"archive": "s3://evidence/macaw", "archive_s3_endpoint": endpoint}
    store = open_store(Home.create(tmp_path, settings), "acme")
    assert store.put(NAME, b"x")
    assert S3Store("evidence", "macaw/acme", endpoint=endpoint).get(NAME) == b"x"
    with pytest.raises(ArchivePlaceError):
        open_store(Home.create(tmp_path, {"archive": "s3://"}), "acme")
