"""The context vault from a client's side: JSON values that stay on the log, and proof that nobody took one back.

Each scope is a chain of accepted changes (`processors/vault.py`). The client keeps the last (n, h) that it was told of
a scope, and where in the log that stood; an answer from later in the log must not have a lower n, nor another h for the
same n. After a change of its own it computes h itself, wherever it knows the link before.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, NamedTuple

from processors import jcs
from processors.vault import NO_CHAIN, OWN, chain_value
from producers.answers import Answer
from producers.control import Speaker, told_in
from producers.outcomes import MalformedReplyError
from schemas import limits
from schemas.records import Body
from schemas.workflow import ContextDeleted, ContextListed, ContextRead, ContextWritten

LIST_KEYS_MAX = 10_000


class VaultRollbackError(RuntimeError):
    """What is told of a scope contradicts what was told before: somebody took changes back, or made up others."""


class ValueTooLargeError(ValueError):
    """The value, or its key, exceeds what the vault keeps; it was not sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultEntry:
    """A value of the vault. `version` serves as `expected` of a change; 0 says that there is none."""

    key: str
    value: Any
    version: int
    author: str = ""


class _Head(NamedTuple):
    at: int
    n: int
    h: bytes


class ScopeHeads:
    """What was told of each scope. Thread-safe: answers may be judged in another order than they stand on the log."""

    def __init__(self, genesis: bytes) -> None:
        self._genesis = genesis
        self._heads: dict[str, _Head] = {}
        self._lock = threading.Lock()

    def floor(self) -> int:
        """Return the newest place in the log that was heard of: what is asked from now on is answered later."""
        with self._lock:
            return max((head.at for head in self._heads.values()), default=-1)

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
            raise VaultRollbackError("the answer is older than one that was there before it was asked for")
        with self._lock:
            known = self._heads.get(scope)
            if known is not None:
                _compare(known, _Head(index, n, h))
            before = NO_CHAIN if n == 1 else known.h if known is not None and known.n == n - 1 else None
            if change is not None and before is not None:
                key, leaf = change
                if chain_value(self._genesis, scope, before, n, key, leaf) != h:
                    raise VaultRollbackError(f"change {n} of {scope!r} is not the one that was sent")
            if known is None or index > known.at:
                self._heads[scope] = _Head(index, n, h)


def _compare(known: _Head, told: _Head) -> None:
    older, newer = sorted((known, told))
    if newer.n < older.n:
        raise VaultRollbackError(f"{newer.n} changes are told where {older.n} were told before")
    if newer.n == older.n and newer.h != older.h:
        raise VaultRollbackError(f"change {newer.n} is told in two ways")


class ContextVault:
    """The vault as one session uses it.

    Every operation raises RefusedError (VERSION_CONFLICT, or why a policy forbids it), NoAnswerError, PublishError,
    MalformedReplyError and VaultRollbackError.
    """

    def __init__(self, speaker: Speaker, genesis: bytes, session_id: bytes) -> None:
        self._speaker, self._session_id = speaker, session_id
        self.heads = ScopeHeads(genesis)

    def set(self, key: str, value: Any, *, scope: str, ttl_ms: int | None, expected: int | None) -> int:
        """Put a value and return its version; `expected` is the version that it replaces. Raises ValueTooLargeError."""
        _check_key(key)
        text = jcs.canonical(value).decode()
        if (size := len(text.encode())) > limits.VAULT_VALUE_BYTES_MAX:
            raise ValueTooLargeError(f"the value has {size} bytes; the vault takes {limits.VAULT_VALUE_BYTES_MAX}")
        told = self._change(
            scope, key, ContextWritten(scope=scope, key=key, value=text, ttl_ms=ttl_ms, expected=expected)
        )
        if told.get("version") != told["n"]:
            raise MalformedReplyError("a change's version is its number in the scope")
        return _whole(told, "version")

    def entry(self, key: str, *, scope: str) -> VaultEntry:
        """Return a value with its version, 0 where there is none."""
        _check_key(key)
        told = self._told(scope, ContextRead(scope=scope, key=key))
        return VaultEntry(
            key=key, value=told.get("value"), version=_whole(told, "version"), author=str(told.get("author", ""))
        )

    def delete(self, key: str, *, scope: str, expected: int | None) -> None:
        """Remove a value. Raises RefusedError VAULT_ABSENT where there is none."""
        _check_key(key)
        self._change(scope, key, ContextDeleted(scope=scope, key=key, expected=expected))

    def keys(self, prefix: str, *, scope: str) -> list[tuple[str, int]]:
        """Return (key, version) of every key with a prefix, in order, at most LIST_KEYS_MAX."""
        found: list[tuple[str, int]] = []
        after = ""
        for _ in range(limits.VAULT_LIST_PAGES_MAX):
            body = ContextListed(scope=scope, prefix=prefix, after=after, limit=limits.VAULT_LIST_MAX)
            told = self._told(scope, body)
            page = told.get("keys")
            if not isinstance(page, list) or not all(isinstance(one, dict) for one in page):
                raise MalformedReplyError("the log's reply holds no list of keys")
            found += [(str(one.get("key")), _whole(one, "version")) for one in page]
            if told.get("more") is not True or len(found) >= LIST_KEYS_MAX:
                return found
            # A page may be empty, where values have just run out.
            following = told.get("next", found[-1][0] if page else None)
            if not isinstance(following, str) or following <= after:
                break
            after = following
        raise MalformedReplyError("the log's pages of keys do not go on")

    def _change(self, scope: str, key: str, body: Body) -> dict[str, Any]:
        return self._told(scope, body, changed=key)

    def _told(self, scope: str, body: Body, changed: str | None = None) -> dict[str, Any]:
        floor = self.heads.floor()
        answer = self._speaker.tell(body)
        told = told_in(answer)
        name = f"{OWN}:{self._session_id.hex()}" if scope == OWN else scope
        if told.get("scope") != name:
            raise MalformedReplyError("the log's reply is about another scope", answer=answer)
        self._check(answer, told, name, floor, changed)
        return told

    def _check(self, answer: Answer, told: dict[str, Any], scope: str, floor: int, changed: str | None) -> None:
        n, result = _whole(told, "n"), answer.result
        try:
            h = bytes.fromhex(str(told.get("h")))
        except ValueError as exc:
            raise MalformedReplyError("the log's reply holds no link of the chain", answer=answer) from exc
        change = None if changed is None else (changed, result.event)
        self.heads.check(scope, (n, h), index=result.audit_index, floor=floor, change=change)


def _check_key(key: str) -> None:
    if len(key.encode("utf-8", "surrogatepass")) > limits.VAULT_KEY_BYTES_MAX:
        raise ValueTooLargeError(f"want a key of at most {limits.VAULT_KEY_BYTES_MAX} bytes")


def _whole(told: dict[str, Any], name: str) -> int:
    value = told.get(name)
    if type(value) is not int or value < 0:
        raise MalformedReplyError(f"the log's reply holds no number {name!r}")
    return value
