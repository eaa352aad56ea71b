"""A document is fetched from a judged address, over verified TLS, within bounds, or refused with a reason."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.bridge import fetching
from streams.bridge.fetching import CONTENT_BYTES_MAX, PARTS_MAX, Fetcher
from streams.bridge.reasons import FetchError, FetchReason
from tests.streams.bridge import provider
from tests.streams.bridge.provider import PRIVATE, Provider, answer, flood, json_answer, serving, trickle

SHORT = 0.3  # seconds for servers that never end
LONG = 20.0  # a machine under load still gets there; far below what these servers would take
CANARY = "s3cr3t-of-the-body"


@pytest.fixture(scope="module")
def fetcher() -> Iterator[Fetcher]:
    made = Fetcher()
    yield made
    made.close()


def refused(fetcher: Fetcher, url: str, *, private: frozenset[str] = PRIVATE, seconds: float = LONG) -> FetchError:
    began = time.monotonic()
    with pytest.raises(FetchError) as caught:
        fetcher.fetch(url, private, seconds=seconds)

    assert time.monotonic() - began < LONG
    assert CANARY not in f"{caught.value} {caught.value!r} {caught.value.__dict__}"
    return caught.value


def test_a_document_comes_as_it_was_sent(server: Provider, fetcher: Fetcher) -> None:
    """Bytes, value and max-age come back; the request asks for plain JSON and carries no cookie."""
    server.answers["/keys?x=1"] = json_answer({"keys": []}, "Cache-Control: public, max-age=1200", "Set-Cookie: a=b")
    server.heads.clear()
    found = [fetcher.fetch(server.url("/keys?x=1"), PRIVATE) for _ in range(2)]

    assert [(one.data, one.value, one.max_age_s) for one in found] == [(b'{"keys": []}', {"keys": []}, 1200)] * 2
    assert (
        server.heads[0]
        == server.heads[1]
        == (
            f"GET /keys?x=1 HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAccept: application/json\r\n"
            "Accept-Encoding: identity\r\nConnection: close\r\nUser-Agent: macaw\r\n\r\n"
        )
    )


def test_http_1_0_without_a_length_is_read_to_its_end(server: Provider, fetcher: Fetcher) -> None:
    """Such an answer ends with its connection; one that is cut off is no JSON object."""
    server.answers["/old"] = b'HTTP/1.0 200 OK\r\n\r\n{"keys": [1]}'
    server.answers["/cut"] = b'HTTP/1.0 200 OK\r\n\r\n{"keys": [1'

    assert fetcher.fetch(server.url("/old"), PRIVATE).value == {"keys": [1]}
    assert refused(fetcher, server.url("/cut")).reason is FetchReason.FETCH_NOT_JSON


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BIG = json.dumps({"a": "b" * CONTENT_BYTES_MAX}).encode()
OTHERS = {
    "a redirect": (
        answer(b"", "Location: http://127.0.0.1:1/latest/meta-data", status="302 Found"),
        FetchReason.FETCH_REDIRECT,
    ),
    "a redirect that stays": (answer(b"", "Location: /keys", status="308 Permanent"), FetchReason.FETCH_REDIRECT),
    "not found": (answer(CANARY.encode(), status=f"404 {CANARY}"), FetchReason.FETCH_STATUS),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", FetchReason.FETCH_STATUS),
    "another protocol": (
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        FetchReason.FETCH_BROKEN,
    ),
    "a gzip bomb": (
        answer(gzip.compress(bytes(64 * 1024 * 1024), 1), "Content-Encoding: gzip"),
        FetchReason.FETCH_ENCODED,
    ),
    "gzip as a transfer coding": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        FetchReason.FETCH_BROKEN,
    ),
    "a stated length beyond the bound": (answer(b"{}", length=CONTENT_BYTES_MAX + 1), FetchReason.FETCH_TOO_LARGE),
    "content beyond the bound": (b"HTTP/1.1 200 OK\r\n\r\n" + BIG, FetchReason.FETCH_TOO_LARGE),
    "content without an end": (flood(b"a" * 65536, before=b"HTTP/1.1 200 OK\r\n\r\n"), FetchReason.FETCH_TOO_LARGE),
    "small chunks without an end": (flood(b"1\r\na\r\n" * 4096, before=CHUNKED), FetchReason.FETCH_TOO_LARGE),
    "a small body in very many chunks": (
        CHUNKED + b'9\r\n{"a": "bc\r\n' + b"1\r\nd\r\n" * PARTS_MAX + b'2\r\n"}\r\n0\r\n\r\n',
        FetchReason.FETCH_TOO_LARGE,
    ),
    "a chunk with a long name": (flood(b"1" * 65536, before=CHUNKED), FetchReason.FETCH_BROKEN),
    "preliminary answers without an end": (
        flood(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 512),
        FetchReason.FETCH_TOO_LARGE,
    ),
    "a head without an end": (flood(b"X: y\r\n" * 512, before=b"HTTP/1.1 200 OK\r\n"), FetchReason.FETCH_TOO_LARGE),
    "a body that breaks off": (answer(CANARY.encode(), length=100), FetchReason.FETCH_BROKEN),
    "nothing": (b"", FetchReason.FETCH_BROKEN),
    "no HTTP": (b"SSH-2.0-" + CANARY.encode() + b"\r\n\r\n", FetchReason.FETCH_BROKEN),
    "two lengths": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        FetchReason.FETCH_BROKEN,
    ),
    "a page for people": (answer(f"<html>{CANARY}</html>".encode()), FetchReason.FETCH_NOT_JSON),
    "a list": (answer(b"[]"), FetchReason.FETCH_NOT_JSON),
    "a member twice": (answer(b'{"keys":[],"keys":[]}'), FetchReason.FETCH_NOT_JSON),
    "a deep value": (answer(b'{"a":' + b"[" * 100_000), FetchReason.FETCH_NOT_JSON),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_answer_is_refused_with_its_reason(name: str, server: Provider, fetcher: Fetcher) -> None:
    """No redirect is followed, and no message has a word of the body."""
    server.answers["/it"], reason = OTHERS[name]
    server.heads.clear()

    assert refused(fetcher, server.url("/it")).reason is reason
    assert server.paths() == ["/it"]


SLOW = {
    "a head byte by byte": trickle(b"X-Slow: yes\r\n", before=b"HTTP/1.1 200 OK\r\n"),
    "a body byte by byte": trickle(b" ", before=answer(b"{", length=100_000)),
    "silence": lambda connection, ends: ends.wait() and None,
}


@pytest.mark.parametrize("name", SLOW)
def test_one_deadline_ends_a_server_that_never_ends(name: str, server: Provider, fetcher: Fetcher) -> None:
    """Each byte comes in time; the whole does not."""
    server.answers["/slow"] = SLOW[name]

    assert refused(fetcher, server.url("/slow"), seconds=SHORT).reason is FetchReason.FETCH_TOO_SLOW


def test_a_handshake_that_never_ends_is_ended() -> None:
    """A TLS record that trickles in has the same deadline."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"https://127.0.0.1:{listening.getsockname()[1]}/"  # the kernel accepts; no byte ever comes
        assert refused(Fetcher(), url, seconds=SHORT).reason is FetchReason.FETCH_TOO_SLOW


def test_a_closed_port_is_unreachable() -> None:
    """A host that refuses connections has a reason of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

    assert refused(Fetcher(), f"http://127.0.0.1:{port}/").reason is FetchReason.FETCH_UNREACHABLE


def test_a_proxy_of_the_environment_is_not_asked(
    server: Provider, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing listens at the proxy, and the document comes."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    server.answers["/keys"] = json_answer({"keys": []})

    assert fetcher.fetch(server.url("/keys"), PRIVATE).value == {"keys": []}


# ---- names and addresses


def test_the_connection_goes_to_the_address_that_was_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: the name is public when it is judged and private at every later look. There is no later look.

    The connection of the test leads any address to its own server, which TLS knows by the name.
    """
    asked: list[str] = []
    connected: list[tuple[str, int]] = []

    def rebinding(host: str) -> list[str]:
        asked.append(host)
        return ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"] if len(asked) == 1 else ["127.0.0.1"]

    tls, trusted = provider.certificate(tmp_path, "idp.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    with serving({"/keys": json_answer({"keys": []})}, tls) as server:

        def connecting(address: str, port: int, seconds: float) -> socket.socket:
            connected.append((address, port))
            return fetching.connect("127.0.0.1", server.port, seconds)

        fetcher = Fetcher(resolving=rebinding, connecting=connecting)
        found = fetcher.fetch("https://IdP.example/keys", frozenset())
        again = refused(fetcher, "https://idp.example/keys", private=frozenset())

    assert found.value == {"keys": []}
    assert connected == [("93.184.215.14", 443)]
    assert again.reason is FetchReason.FETCH_ADDRESS_PRIVATE  # the second fetch resolves anew, and judges anew
    assert asked == ["idp.example"] * 2
    assert server.heads[0].splitlines()[1] == "Host: idp.example"


def test_one_private_address_among_public_ones_refuses_them_all() -> None:
    """Another attempt would reach the private one. No connection is tried."""

    def connecting(address: str, port: int, seconds: float) -> socket.socket:
        raise AssertionError(address)

    fetcher = Fetcher(resolving=lambda _: ["93.184.215.14", "10.0.0.7"], connecting=connecting)

    assert refused(fetcher, "https://idp.example/").reason is FetchReason.FETCH_ADDRESS_PRIVATE


def test_an_ipv6_address_in_a_url_is_connected_to_and_named_in_brackets() -> None:
    """Without the resolver."""
    connected: list[str] = []
    with serving({"/": json_answer({})}) as server:

        def connecting(address: str, port: int, seconds: float) -> socket.socket:
            connected.append(address)
            return fetching.connect("127.0.0.1", port, seconds)

        fetcher = Fetcher(resolving=lambda host: [f"not asked for {host}"], connecting=connecting)
        fetcher.fetch(f"http://[FD00:0::1]:{server.port}/", frozenset({"[fd00::1]"}))

    assert connected == ["fd00::1"]
    assert f"Host: [fd00::1]:{server.port}\r\n" in server.heads[0]


def test_each_address_has_a_share_of_the_time() -> None:
    """A first address that swallows packets leaves time for the next one."""
    with serving({"/": json_answer({})}) as server:

        def connecting(address: str, port: int, seconds: float) -> socket.socket:
            if address == "10.0.0.1":
                raise TimeoutError
            return fetching.connect("127.0.0.1", port, seconds)

        fetcher = Fetcher(resolving=lambda _: ["10.0.0.1", "10.0.0.2"], connecting=connecting)
        found = fetcher.fetch(f"http://idp.internal:{server.port}/", frozenset({"idp.internal"}))

    assert found.value == {}


def test_a_certificate_of_another_name_or_authority_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`SSL_CERT_FILE` names an authority; a name and an address are compared with the certificate."""
    tls, trusted = provider.certificate(tmp_path, "localhost", "127.0.0.1")
    stranger = Fetcher()
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    knowing = Fetcher(resolving=lambda _: ["127.0.0.1"])
    private = frozenset({"localhost", "127.0.0.1", "other.internal"})
    with serving({"/": json_answer({})}, tls) as server:
        at_name, at_address, at_other = (
            f"https://{host}:{server.port}/" for host in ("localhost", "127.0.0.1", "other.internal")
        )
        found = [knowing.fetch(url, private).value for url in (at_name, at_address)]
        refusals = [refused(knowing, at_other, private=private), refused(stranger, at_address, private=private)]
        plain = refused(knowing, f"http://127.0.0.1:{server.port}/", private=private)

    assert found == [{}, {}]
    assert [one.reason for one in refusals] == [FetchReason.FETCH_TLS] * 2
    assert refusals[0].detail == "Hostname mismatch"
    assert plain.reason in {FetchReason.FETCH_BROKEN, FetchReason.FETCH_TOO_SLOW}
    assert len(server.heads) == 2  # nothing was asked on the others


def test_a_name_that_hangs_takes_one_thread_and_no_more_than_the_deadline() -> None:
    """The system's resolver cannot be interrupted: it is left behind, and asked once however many fetches wait."""
    ends = threading.Event()
    asked: list[str] = []

    def hanging(host: str) -> list[str]:
        asked.append(host)
        ends.wait(LONG)
        return []

    fetcher = Fetcher(resolving=hanging)
    try:
        reasons = [refused(fetcher, "https://hangs.example/", seconds=0.05).reason for _ in range(3)]
        for number in range(31):
            refused(fetcher, f"https://hangs{number}.example/", seconds=0.001)
        full = refused(fetcher, "https://another.example/").reason
    finally:
        ends.set()

    assert reasons == [FetchReason.FETCH_TOO_SLOW] * 3
    assert (len(asked), full) == (32, FetchReason.FETCH_BUSY)


def test_a_name_without_an_address_has_a_reason() -> None:
    """The resolver's error, and an empty answer."""

    def missing(host: str) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    for resolving in (missing, lambda _: []):
        assert refused(Fetcher(resolving=resolving), "https://a.example/").reason is FetchReason.FETCH_UNRESOLVED


def test_close_ends_a_fetch_under_way(server: Provider) -> None:
    """A read that waits returns, and later fetches are refused."""
    began = threading.Event()

    def silent(connection: socket.socket, ends: threading.Event) -> None:
        began.set()
        ends.wait()

    server.answers["/silent"] = silent
    fetcher = Fetcher()
    found: list[FetchError] = []
    thread = threading.Thread(target=lambda: found.append(refused(fetcher, server.url("/silent"), seconds=60.0)))
    thread.start()
    assert began.wait(LONG)
    fetcher.close()
    thread.join(LONG)

    assert [one.reason for one in found] == [FetchReason.FETCH_STOPPED]
    assert refused(fetcher, server.url("/silent")).reason is FetchReason.FETCH_STOPPED
