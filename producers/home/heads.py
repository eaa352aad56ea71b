"""The newest state of vault and log that a client has seen, so that an older one is noticed, after a restart too.

Each scope of the vault is a chain of accepted changes (`processors/context/vault.py`). The client keeps the last (n, h)
of each scope and its place in the log. An answer from later in the log must not have a lower n, nor another h for the
same n, and it must stand later in the log than every entry that was known before the question. Of each key the client
keeps the last version: it only grows, or is 0 once the value was deleted or has run out.

`export` and `take` carry heads to another process; `HeadsFile` keeps them in a file beside the client's key.
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
from producers.home.files import replace_private
from schemas.errors import EvidenceError

log = logging.getLogger(__name__)

FORMAT = "macaw-vault-heads/v1"
SCOPES_MAX = 1024  # the last ones that an answer named
VERSIONS_MAX = 4096  # of keys, in memory only
FILE_BYTES_MAX = 1024 * 1024
SAVE_SECONDS = 1.0
_DIGEST = re.compile(r"[0-9a-f]{64}")


class LogRollbackError(EvidenceError):
    """LOG_ROLLBACK: an answer stands earlier in the log than an entry that was known before the question.

    The decisions, revocations and uses since that place are gone from the log.
    """

    reason = "LOG_ROLLBACK"

    def __init__(self, why: str) -> None:
        super().__init__(
            f"{self.reason}: {why}; ask the operator of the brokers whether the log was restored from a copy; only if "
            "it was, and you know why, remove the `.heads` file beside your key"
        )


class VaultRollbackError(LogRollbackError):
    """VAULT_ROLLBACK: an answer about the vault contradicts an earlier one: the log was set back, or one is forged."""

    reason = "VAULT_ROLLBACK"


class HeadsError(EvidenceError):
    """Kept heads cannot be read; the message names the file or the fault."""


class Head(NamedTuple):
    """The last known state of a scope: its audit index, its number of changes, and the link of the last change."""

    at: int
    n: int
    h: bytes


class _Version(NamedTuple):
    """The least version that a key can have from a place in the log on, and the link of that change."""

    at: int
    least: int
    link: bytes | None


class ScopeHeads:
    """The last known head of each scope. Thread-safe; answers may be checked in another order than that of the log."""

    def __init__(self, genesis: bytes) -> None:
        self.genesis = genesis
        self._heads: OrderedDict[str, Head] = OrderedDict()
        self._versions: OrderedDict[tuple[str, str], _Version] = OrderedDict()
        self._newest = -1
        self._lock = threading.Lock()

    def floor(self) -> int:
        """Return the newest known place in the log: questions that are asked from now on are answered later."""
        with self._lock:
            return self._newest

    def heard(self, index: int) -> None:
        """Note that the log has come this far: a call was answered there."""
        with self._lock:
            self._newest = max(self._newest, index)

    def check(
        self, scope: str, new: tuple[int, bytes], *, index: int, floor: int, change: tuple[str, bytes] | None
    ) -> None:
        """Compare a scope's (n, h) at a place in the log with the known one. `change` is (key, leaf) of our own change.

        Raises:
            VaultRollbackError: they contradict each other.
        """
        n, h = new
        if n == 0 and h != NO_CHAIN:
            raise VaultRollbackError("a scope without a change has no link")
        if index <= floor:
            raise VaultRollbackError(
                f"the answer stands at entry {index}, but entry {floor} was known before the question"
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
        """Compare a key's version and the link of its change with the noted ones. Raises VaultRollbackError."""
        with self._lock:
            known = self._versions.get((scope, key))
        if known is None:
            return
        if 0 < version < known.least and index > known.at:
            raise VaultRollbackError(
                f"{key!r} has version {version}, and had at least {known.least} before, or was deleted"
            )
        if version == known.least and link is not None and known.link not in {None, link}:
            raise VaultRollbackError(f"version {version} of {key!r} has two links: {_TWO_WAYS}")

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
        """Return the heads as JSON that `take` reads; of the sessions' own scopes only that of session `own`."""
        with self._lock:
            heads = [(s, one) for s, one in self._heads.items() if not s.startswith(f"{OWN}:") or s == own]
            return {
                "format": FORMAT,
                "genesis": self.genesis.hex(),
                "newest": self._newest,
                "scopes": {scope: {"at": one.at, "n": one.n, "h": one.h.hex()} for scope, one in heads},
            }

    def take(self, exported: Mapping[str, Any]) -> None:
        """Add heads that `export` returned, here or elsewhere.

        Raises:
            HeadsError: they have another form, or are of another founding of the tenant.
            VaultRollbackError: they contradict the heads seen here; nothing was added.
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

    def _note(self, scope: str, new: Head) -> None:
        if new.at >= self._at(scope):
            self._heads[scope] = new
            self._heads.move_to_end(scope)
        while len(self._heads) > SCOPES_MAX:
            self._heads.popitem(last=False)
        self._newest = max(self._newest, new.at)


def _compare(known: Head, new: Head) -> None:
    older, newer = sorted((known, new))
    if newer.n < older.n:
        raise VaultRollbackError(f"the scope has {newer.n} changes, and had {older.n} before")
    if newer.n == older.n and newer.h != older.h:
        raise VaultRollbackError(f"change {newer.n} has two hashes: {_TWO_WAYS}")


def _parsed(exported: Mapping[str, Any], genesis: bytes) -> tuple[int, dict[str, Head]]:
    if exported.get("format") != FORMAT:
        raise HeadsError(f"the heads do not have the format {FORMAT}: give the value that `export_heads` returned")
    if exported.get("genesis") != genesis.hex():
        raise HeadsError("these heads are of another founding of the tenant")
    newest, scopes = exported.get("newest"), exported.get("scopes")
    if not _is_whole(newest, least=-1) or not isinstance(scopes, Mapping) or len(scopes) > SCOPES_MAX:
        raise HeadsError(f"`newest` or `scopes` is missing or malformed; at most {SCOPES_MAX} scopes are taken")
    return newest, {str(scope): _head(one) for scope, one in scopes.items()}  # type: ignore[return-value]


def _head(new: object) -> Head:
    match new:
        case {"at": int() as at, "n": int() as n, "h": str() as h} if _is_whole(at) and _is_whole(n):
            if _DIGEST.fullmatch(h):
                return Head(at, n, bytes.fromhex(h))
    raise HeadsError("a scope lacks a valid `at`, `n` or `h`")


def _is_whole(value: object, *, least: int = 0) -> bool:
    return type(value) is int and least <= value < 2**63


class HeadsFile:
    """Keeps heads in a file, for its owner only: read at the start, written when they change, and at the end.

    Two processes with one file keep the newest heads of both; of two writes in one moment the file may keep either.
    """

    def __init__(self, path: Path, heads: ScopeHeads, *, own: str | None = None) -> None:
        """Read the kept heads. Heads of another founding are ignored. Raises HeadsError."""
        self._path, self._heads, self._own = path, heads, own
        self._saved_at = -math.inf
        self._lock = threading.Lock()
        self._merge()
        self._keeps = os.access(path.parent, os.W_OK)
        if not self._keeps:
            log.warning("%s cannot be written, so a log that is set back is noticed only while this process runs", path)

    def changed(self) -> None:
        """Write the heads, at most once a second.

        Raises:
            VaultRollbackError: another process has seen a contradicting head.
            HeadsError: the file has been changed and cannot be read.
        """
        with self._lock:
            if self._keeps and time.monotonic() - self._saved_at >= SAVE_SECONDS:
                self._write()

    def save(self) -> None:
        """Write the heads, at the end. It never raises: the client has done its work, and the result counts.

        If the heads of another process contradict ours, the contradiction is logged and the file of the other process
        stays.
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
            raise HeadsError(f"{self._path} is damaged: {_REMOVE}") from exc
        if not isinstance(kept, dict):
            raise HeadsError(f"{self._path} is damaged: {_REMOVE}")
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
        """Add the heads in the file, which another process may have written. Heads of another founding are ignored.

        Raises:
            VaultRollbackError: another process has seen a contradicting head.
        """
        kept = self._read()
        if kept is None or kept.get("genesis") != self._heads.genesis.hex():
            return
        try:
            self._heads.take(kept)
        except HeadsError as exc:
            raise HeadsError(f"{self._path} is damaged ({exc}): {_REMOVE}") from exc


_REMOVE = "remove it if you know why; a log that was set back meanwhile is then not noticed"
_TWO_WAYS = "the log was altered, or two monitors answer"
