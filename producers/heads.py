"""What a client has seen of the vault and of the log: nobody can show it an older one, also after it was restarted.

Each scope of the vault is a chain of accepted changes (`processors/context/vault.py`). The client keeps the last (n, h)
that it was told of a scope, and where in the log that stood; an answer from later in the log must not have a lower n,
nor another h for the same n. An answer must stand later in the log than all that was there before it was asked for. Of
keys it keeps the last version: that only grows, or is 0 when the value was deleted or has run out.

`export` and `take` carry heads over a restart; `HeadsFile` keeps them beside the key of who has seen them.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from processors.context.vault import NO_CHAIN, OWN, chain_value
from producers.files import replace_private

log = logging.getLogger(__name__)

FORMAT = "macaw-vault-heads/v1"
SCOPES_MAX = 1024  # the ones that were heard of last
VERSIONS_MAX = 4096  # of keys, in memory only
FILE_BYTES_MAX = 1024 * 1024
SAVE_SECONDS = 1.0
_DIGEST = re.compile(r"[0-9a-f]{64}")


class LogRollbackError(RuntimeError):
    """LOG_ROLLBACK: an answer stands earlier in the log than what was heard before it was asked for.

    Decisions, revocations and what was used up since are gone from it.
    """

    reason = "LOG_ROLLBACK"

    def __init__(self, why: str) -> None:
        super().__init__(
            f"{self.reason}: {why}; ask whoever runs the brokers whether the log was restored from a copy, and only if "
            "it was, and you know why, remove the `.heads` file beside your key"
        )


class VaultRollbackError(LogRollbackError):
    """VAULT_ROLLBACK: what is told of the vault contradicts what was told before: it was set back, or made up."""

    reason = "VAULT_ROLLBACK"


class HeadsError(ValueError):
    """What was kept of heads cannot be read; the message names the file, or what is wrong with it."""


class Head(NamedTuple):
    """What was told of a scope: at which audit index, its number of changes, and the link of the last."""

    at: int
    n: int
    h: bytes


class _Version(NamedTuple):
    """What is known of a key: the least version that it can have from a place in the log on, and that one's link."""

    at: int
    least: int
    link: bytes | None


class ScopeHeads:
    """What was told of each scope. Thread-safe: answers may be judged in another order than they stand on the log."""

    def __init__(self, genesis: bytes) -> None:
        self.genesis = genesis
        self._heads: OrderedDict[str, Head] = OrderedDict()
        self._versions: OrderedDict[tuple[str, str], _Version] = OrderedDict()
        self._newest = -1
        self._lock = threading.Lock()

    def floor(self) -> int:
        """Return the newest place in the log that was heard of: what is asked from now on is answered later."""
        with self._lock:
            return self._newest

    def heard(self, index: int) -> None:
        """Note that the log has come this far: a call was answered there."""
        with self._lock:
            self._newest = max(self._newest, index)

    def check(
        self, scope: str, told: tuple[int, bytes], *, index: int, floor: int, change: tuple[str, bytes] | None
    ) -> None:
        """Compare what is told of a scope at a place in the log with what is known. `change` is (key, leaf) of ours.

        Raises:
            VaultRollbackError: they contradict each other.
        """
        n, h = told
        if n == 0 and h != NO_CHAIN:
            raise VaultRollbackError("a scope without a change has no link")
        if index <= floor:
            raise VaultRollbackError(
                f"the answer stands at entry {index}, older than entry {floor}, which was there before it was asked for"
            )
        with self._lock:
            known = self._heads.get(scope)
            if known is not None:
                _compare(known, Head(index, n, h))
            before = NO_CHAIN if n == 1 else known.h if known is not None and known.n == n - 1 else None
            if change is not None and before is not None:
                key, leaf = change
                if chain_value(self.genesis, scope, before, n, key, leaf) != h:
                    raise VaultRollbackError(f"change {n} of {scope!r} is not the one that was sent")
            self._note(scope, Head(index, n, h))

    def check_version(self, scope: str, key: str, version: int, *, index: int, link: bytes | None = None) -> None:
        """Compare the version of a key, and the link of its change, with what was noted. Raises VaultRollbackError."""
        with self._lock:
            known = self._versions.get((scope, key))
        if known is None:
            return
        if 0 < version < known.least and index > known.at:
            raise VaultRollbackError(f"version {version} of {key!r} is told; it was at least {known.least}, or deleted")
        if version == known.least and link is not None and known.link not in {None, link}:
            raise VaultRollbackError(f"version {version} of {key!r} is told in two ways")

    def note_version(self, scope: str, key: str, least: int, *, index: int, link: bytes | None = None) -> None:
        """Note that from this place in the log on a key is absent, or has at least this version, with this link."""
        with self._lock:
            known = self._versions.get((scope, key))
            if known is None or least >= known.least:
                self._versions[scope, key] = _Version(index, least, link)
                self._versions.move_to_end((scope, key))
            while len(self._versions) > VERSIONS_MAX:
                self._versions.popitem(last=False)

    def export(self, *, own: str | None = None) -> dict[str, Any]:
        """Return what was seen, as JSON that `take` reads. Of sessions' own scopes only that of the session `own`."""
        with self._lock:
            heads = [(s, one) for s, one in self._heads.items() if not s.startswith(f"{OWN}:") or s == own]
            return {
                "format": FORMAT,
                "genesis": self.genesis.hex(),
                "newest": self._newest,
                "scopes": {scope: {"at": one.at, "n": one.n, "h": one.h.hex()} for scope, one in heads},
            }

    def take(self, exported: Mapping[str, Any]) -> None:
        """Add what `export` gave, here or elsewhere.

        Raises:
            HeadsError: it has another form, or is of another founding of the tenant.
            VaultRollbackError: it contradicts what was seen here; nothing was taken.
        """
        newest, heads = _parsed(exported, self.genesis)
        with self._lock:
            for scope, one in heads.items():
                known = self._heads.get(scope)
                if known is not None:
                    _compare(known, one)
            for scope, one in sorted(heads.items(), key=lambda pair: pair[1].at):
                self._note(scope, one)
            self._newest = max(self._newest, newest)

    def _at(self, scope: str) -> int:
        known = self._heads.get(scope)
        return -1 if known is None else known.at

    def _note(self, scope: str, told: Head) -> None:
        if told.at >= self._at(scope):
            self._heads[scope] = told
            self._heads.move_to_end(scope)
        while len(self._heads) > SCOPES_MAX:
            self._heads.popitem(last=False)
        self._newest = max(self._newest, told.at)


def _compare(known: Head, told: Head) -> None:
    older, newer = sorted((known, told))
    if newer.n < older.n:
        raise VaultRollbackError(f"{newer.n} changes are told where {older.n} were told before")
    if newer.n == older.n and newer.h != older.h:
        raise VaultRollbackError(f"change {newer.n} is told in two ways")


def _parsed(exported: Mapping[str, Any], genesis: bytes) -> tuple[int, dict[str, Head]]:
    if exported.get("format") != FORMAT:
        raise HeadsError(f"want what `export` gave, of the format {FORMAT}")
    if exported.get("genesis") != genesis.hex():
        raise HeadsError("these heads are of another founding of the tenant")
    newest, scopes = exported.get("newest"), exported.get("scopes")
    if not _is_whole(newest, least=-1) or not isinstance(scopes, Mapping) or len(scopes) > SCOPES_MAX:
        raise HeadsError(f"want `newest`, and at most {SCOPES_MAX} `scopes`")
    return newest, {str(scope): _head(one) for scope, one in scopes.items()}  # type: ignore[return-value]


def _head(told: object) -> Head:
    match told:
        case {"at": int() as at, "n": int() as n, "h": str() as h} if _is_whole(at) and _is_whole(n):
            if _DIGEST.fullmatch(h):
                return Head(at, n, bytes.fromhex(h))
    raise HeadsError("want `at`, `n` and `h` of each scope")


def _is_whole(value: object, *, least: int = 0) -> bool:
    return type(value) is int and least <= value < 2**63


class HeadsFile:
    """Keeps heads in a file, for its owner only: read at the start, written when they change, and at the end.

    Two processes with one file keep what either has seen last; what both write in one moment may be that of one.
    """

    def __init__(self, path: Path, heads: ScopeHeads, *, own: str | None = None) -> None:
        """Read what was kept. Heads of another founding count for nothing. Raises HeadsError."""
        self._path, self._heads, self._own = path, heads, own
        self._saved_at = -math.inf
        self._lock = threading.Lock()
        self._merge()
        self._keeps = os.access(path.parent, os.W_OK)
        if not self._keeps:
            log.warning("%s cannot be written: that a log was set back is noticed only while this process runs", path)

    def changed(self) -> None:
        """Note that heads have changed: they are written, but no more than once a second.

        Raises:
            VaultRollbackError: another process was told something else.
            HeadsError: the file is not what was written there.
        """
        with self._lock:
            if self._keeps and time.monotonic() - self._saved_at >= SAVE_SECONDS:
                self._write()

    def save(self) -> None:
        """Write what was seen, at the end. It never raises: what the client has done is done, and its result counts.

        A contradiction with what another process was told is logged, and that one's file stays for the next client.
        """
        with self._lock:
            if not self._keeps or self._heads.floor() < 0:
                return
            try:
                self._write()
            except (HeadsError, VaultRollbackError) as exc:
                log.error("%s is not written: %s", self._path, exc)  # noqa: TRY400 - the message is for people

    def _read(self) -> dict[str, Any] | None:
        try:
            with self._path.open("rb") as file:
                text = file.read(FILE_BYTES_MAX + 1)
            kept = json.loads(text) if len(text) <= FILE_BYTES_MAX else None
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise HeadsError(f"cannot read {self._path}: {exc.strerror}") from exc
        except (ValueError, RecursionError) as exc:
            raise HeadsError(f"{self._path} is not what was written there: {_REMOVE}") from exc
        if not isinstance(kept, dict):
            raise HeadsError(f"{self._path} is not what was written there: {_REMOVE}")
        return kept

    def _write(self) -> None:
        self._merge()
        try:
            replace_private(self._path, json.dumps(self._heads.export(own=self._own)).encode())
        except OSError as exc:
            log.warning(
                "%s cannot be written (%s): a log that is set back may not be noticed", self._path, exc.strerror
            )
        self._saved_at = time.monotonic()

    def _merge(self) -> None:
        """Take what was kept, at the start and by another process since; heads of another founding count for nothing.

        Raises:
            VaultRollbackError: another process was told something else.
        """
        kept = self._read()
        if kept is None or kept.get("genesis") != self._heads.genesis.hex():
            return
        try:
            self._heads.take(kept)
        except HeadsError as exc:
            raise HeadsError(f"{self._path} is not what was written there ({exc}): {_REMOVE}") from exc


_REMOVE = "remove it if you know why; until then a log that was set back would not be noticed"
