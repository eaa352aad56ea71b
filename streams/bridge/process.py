"""The process of the bridges: one thread for each tenant that has a bridge's key in this installation.

If the bridge of a tenant cannot go on, the log of the process says so, and it is tried again; the others go on. Keys
and tenants that appear while it runs are taken up.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaException

from producers.home.home import Home
from schemas.errors import MacawError
from streams.bridge.desk import LoginDesk
from streams.bridge.key_cache import KeyCache
from streams.bridge.logout_desk import Voice
from streams.bridge.logout_serving import LogoutDoor
from streams.bridge.tenant import TenantBridge

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
PAUSE_SECONDS_MAX = 60.0
JOIN_SECONDS = 8.0
FOLDER = "bridges"


@dataclass(slots=True)
class _Served:
    """One key's bridge between two looks."""

    tenant: str
    thread: threading.Thread
    bridge: TenantBridge | None = None
    is_stopped: bool = False


class BridgeProcess:
    """Serves every tenant of an installation that has a bridge's key in its folder `bridges`."""

    def __init__(self, home: Home, logout: LogoutDoor | None = None) -> None:
        """`logout` is the place at which identity providers tell of logouts, None for none; it is closed with this."""
        self._home, self._logout = home, logout
        self._keys: dict[str, KeyCache] = {}  # by tenant: the dead providers of one delay no login of another
        self._served: dict[Path, _Served] = {}
        self._failures: dict[Path, int] = {}
        self._try_at: dict[Path, float] = {}
        self._stop = threading.Event()

    def stop(self) -> None:
        """Ask `run` to return."""
        self._stop.set()

    def run(self) -> None:
        """Serve until `stop`. Raises LogoutEndedError if the endpoint for logouts ends unasked."""
        try:
            self.look()
            if self._logout is not None:
                self._logout.start(self.voices)  # after a look: a tenant that is not connected yet is no unknown one
            while not self._stop.is_set():
                self.look()
                if self._logout is not None:
                    self._logout.check()
                self._stop.wait(LOOK_SECONDS)
        finally:
            self._end()

    def voices(self, tenant: str) -> list[Voice] | None:
        """Return the bridges of a tenant that are connected now; None for a tenant without a bridge here."""
        served = [one for one in list(self._served.values()) if one.tenant == tenant]
        if not served:
            return None
        return [one.bridge.voice for one in served if one.bridge is not None and one.thread.is_alive()]

    def desks(self) -> list[tuple[str, LoginDesk | None]]:
        """Return each tenant here with the desk of a bridge that serves it, None for one that does not serve now."""
        return [
            (one.tenant, one.bridge.desk if one.bridge is not None and one.thread.is_alive() else None)
            for one in list(self._served.values())
        ]

    def look(self) -> None:
        """Start a thread for each key that has none and is due."""
        for tenant, path in bridge_keys(self._home):
            served = self._served.get(path)
            if served is not None and served.thread.is_alive():
                continue
            if time.monotonic() < self._try_at.get(path, 0.0):
                continue
            self.keys_of(tenant)
            thread = threading.Thread(target=self._serve, args=(tenant, path), name=f"bridge-{tenant}", daemon=True)
            self._served[path] = _Served(tenant, thread)
            thread.start()

    def keys_of(self, tenant: str) -> KeyCache:
        """Return the key sets of a tenant's providers; its bounds of issuers and threads are the tenant's own."""
        if tenant not in self._keys:
            self._keys[tenant] = KeyCache()
        return self._keys[tenant]

    def _serve(self, tenant: str, path: Path) -> None:
        """Serve one tenant until `stop`, or until its bridge fails."""
        served = self._served[path]
        try:
            served.bridge = TenantBridge(self._home, self._home.tenant(tenant), path, self.keys_of(tenant))
            if self._stop.is_set():
                served.bridge.stop()
            log.info("%s: logins are served by the bridge %s", tenant, served.bridge.kid.hex()[:16])
            self._failures[path] = 0
            served.bridge.run()
        except (MacawError, KafkaException, OSError) as exc:
            failures = self._failures[path] = self._failures.get(path, 0) + 1
            pause = min(2.0 ** min(failures, 10), PAUSE_SECONDS_MAX)
            self._try_at[path] = time.monotonic() + pause
            why = exc.args[0].str() if isinstance(exc, KafkaException) else str(exc)
            log.error(  # noqa: TRY400 - the sentence says it; the place in our code helps no operator
                "%s: nobody can log in through the bridge of %s: %s. The next attempt is in %d s",
                tenant,
                path,
                why,
                pause,
            )

    def _end(self) -> None:
        if self._logout is not None:
            self._logout.close()
        for served in self._served.values():
            if served.bridge is not None:
                served.bridge.stop()
        until = time.monotonic() + JOIN_SECONDS
        for served in self._served.values():
            served.thread.join(max(0.1, until - time.monotonic()))
        for keys in self._keys.values():
            keys.close()


def bridge_keys(home: Home) -> list[tuple[str, Path]]:
    """Return the tenants and files of the bridges' keys here; the stand-in for development serves no logins."""
    found = []
    for tenant in home.tenants():
        folder = home.tenant(tenant)
        stand_in = folder.key_file("bridge", "development")
        found += [(tenant, path) for path in sorted((folder.path / FOLDER).glob("*.key")) if path != stand_in]
    return found
