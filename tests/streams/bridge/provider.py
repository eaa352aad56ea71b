"""A tiny HTTP server on loopback that says whatever a test wants, and the certificates of another one."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

LOOPBACK = "127.0.0.1"
PRIVATE = frozenset({LOOPBACK})

Script = Callable[[socket.socket, threading.Event], None]  # with the event that ends a slow one


@dataclass
class Provider:
    """A server that listens: its answers by path, and the heads of the requests that it got."""

    port: int
    answers: dict[str, bytes | Script] = field(default_factory=dict)
    heads: list[str] = field(default_factory=list)

    @property
    def issuer(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def url(self, path: str) -> str:
        return f"{self.issuer}{path}"

    def paths(self) -> list[str]:
        return [head.split()[1] for head in self.heads]


def answer(
    body: bytes, *headers: str, status: str = "200 OK", version: str = "1.1", length: int | None = None
) -> bytes:
    lines = [f"HTTP/{version} {status}", f"Content-Length: {len(body) if length is None else length}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def json_answer(value: object, *headers: str) -> bytes:
    return answer(json.dumps(value).encode(), "Content-Type: application/json", *headers)


@contextmanager
def serving(
    answers: Mapping[str, bytes | Script] | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[Provider]:
    """Serve each connection on a thread of its own, one request each."""
    ends = threading.Event()
    threads: list[threading.Thread] = []
    with socket.create_server((LOOPBACK, 0), backlog=128) as listening:
        provider = Provider(listening.getsockname()[1], dict(answers or {}))

        def accept() -> None:
            while True:
                connection, _ = listening.accept()
                if ends.is_set():
                    connection.close()
                    return
                threads.append(threading.Thread(target=talk, args=(connection,)))
                threads[-1].start()

        def talk(connection: socket.socket) -> None:
            connection.settimeout(30)
            with suppress(OSError):
                if tls is not None:
                    connection = tls.wrap_socket(connection, server_side=True)
                head = b""
                while b"\r\n\r\n" not in head and (data := connection.recv(65536)):
                    head += data
                if head:
                    provider.heads.append(head.decode("latin-1"))
                    said = provider.answers.get(provider.paths()[-1], answer(b"{}", status="404 Not Found"))
                    if callable(said):
                        said(connection, ends)
                    else:
                        connection.sendall(said)
            connection.close()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield provider
        finally:
            ends.set()
            socket.create_connection((LOOPBACK, provider.port)).close()
            accepting.join()
            for thread in threads:
                thread.join()


def trickle(data: bytes, seconds: float = 0.02, *, before: bytes = b"") -> Script:
    """Return a script that sends bytes one by one, for ever."""

    def script(connection: socket.socket, ends: threading.Event) -> None:
        connection.sendall(before)
        while not ends.wait(seconds):
            for byte in data:
                connection.sendall(bytes([byte]))
                if ends.wait(seconds):
                    return

    return script


def flood(data: bytes, *, before: bytes = b"") -> Script:
    """Return a script that sends the same bytes as fast as they are read, for ever."""

    def script(connection: socket.socket, ends: threading.Event) -> None:
        connection.sendall(before)
        while not ends.is_set():
            connection.sendall(data)

    return script


def certificate(folder: Path, *names: str) -> tuple[ssl.SSLContext, Path]:
    """Return the server's side of TLS for some hosts, and the file of the authority that its clients must trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a test")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([_name(one) for one in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    own, trusted = folder / "server.pem", folder / "authority.pem"
    pem = made.public_bytes(serialization.Encoding.PEM)
    trusted.write_bytes(pem)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    own.write_bytes(secret + pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own)
    return context, trusted


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)
