"""A port on loopback that leads to another one, and can be closed: a server behind it is down for its clients alone."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from streams.local.probe import LOOPBACK

BLOCK = 65_536
ACCEPT_SECONDS = 0.1
BACKLOG = 64


class Forwarder:
    """Connections to `port` are joined to `target`. After `close` they are refused, and `open` takes the same port."""

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self._target = target
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._lock = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._pumps: list[threading.Thread] = []

    def open(self) -> None:
        """Listen. An open forwarder stays as it is."""
        if self._listener is not None:
            return
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, self.port))
        listener.listen(BACKLOG)
        listener.settimeout(ACCEPT_SECONDS)
        self._listener = listener
        self._acceptor = threading.Thread(target=self._accept, args=(listener,), daemon=True)
        self._acceptor.start()

    def close(self) -> None:
        """Refuse connections from now on, and break those that stand. A second call is allowed."""
        listener, self._listener = self._listener, None
        if listener is None or self._acceptor is None:
            return
        self._acceptor.join()  # it looks ten times a second whether it shall end
        listener.close()
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            for one in pair:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
        for pump in self._pumps:
            pump.join()
        self._pumps.clear()

    def _accept(self, listener: socket.socket) -> None:
        while self._listener is listener:
            try:
                client, _ = listener.accept()
            except TimeoutError:
                continue
            try:
                server = socket.create_connection((LOOPBACK, self._target), timeout=None)
            except OSError:
                client.close()
                continue
            client.settimeout(None)
            pump = threading.Thread(target=self._join, args=(client, server), daemon=True)
            with self._lock:
                self._pairs.add((client, server))
            self._pumps = [one for one in self._pumps if one.is_alive()] + [pump]
            pump.start()

    def _join(self, client: socket.socket, server: socket.socket) -> None:
        back = threading.Thread(target=_pump, args=(server, client), daemon=True)
        back.start()
        _pump(client, server)
        back.join()
        with self._lock:
            self._pairs.discard((client, server))
        client.close()
        server.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Copy bytes until either side ends, and end both: HTTP needs no half-closed connection."""
    with suppress(OSError):
        while block := source.recv(BLOCK):
            sink.sendall(block)
    for one in (source, sink):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
