"""The context vault from a client's side: JSON values that stay on the log, and what proves them.

A value is believed for its writer's signature (`producers.written`), a scope for not contradicting what was told of it
before (`producers.heads`). After a change of its own the client computes the scope's link itself, wherever it knows the
link before. A list is the monitor's word for which keys there are, but for the scope's (n, h).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processors.context.vault import OWN
from processors.proof import jcs
from producers.answers import Answer
from producers.control import Speaker, told_in
from producers.heads import HeadsFile, ScopeHeads, VaultRollbackError
from producers.outcomes import MalformedReplyError
from producers.registry_view import RegistryView
from producers.written import Place, VaultForgedError, Written, check_written
from schemas import limits
from schemas.records import Body
from schemas.workflow import ContextDeleted, ContextListed, ContextRead, ContextWritten

__all__ = ["ContextVault", "ValueTooLargeError", "VaultEntry", "VaultForgedError", "VaultRollbackError"]

LIST_KEYS_MAX = 10_000


class ValueTooLargeError(ValueError):
    """The value, or its key, exceeds what the vault keeps; it was not sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultEntry:
    """A value of the vault. `version` serves as `expected` of a change; 0 says that there is none."""

    key: str
    value: Any
    version: int
    author: str = ""


class ContextVault:
    """The vault as one session uses it.

    Every operation raises RefusedError (VERSION_CONFLICT, or why a policy forbids it), NoAnswerError, PublishError,
    MalformedReplyError and VaultRollbackError; reading also VaultForgedError.
    """

    def __init__(
        self, speaker: Speaker, genesis: bytes, session_id: bytes, registry: RegistryView | None = None
    ) -> None:
        """Speak for one session. Without a registry nothing is believed of values that other sessions wrote."""
        self._speaker, self._genesis, self._session_id, self._registry = speaker, genesis, session_id, registry
        self.heads = ScopeHeads(genesis)
        self._kept: HeadsFile | None = None

    def keep_heads(self, path: Path | None) -> int:
        """Keep what is heard of scopes in a file, and begin with what stands there; return the newest audit index.

        Raises:
            HeadsError: what stands there cannot be read.
        """
        self._kept = None if path is None else HeadsFile(path, self.heads, own=f"{OWN}:{self._session_id.hex()}")
        return self.heads.floor()

    def save_heads(self, newest: int = -1) -> None:
        """Write what was heard of scopes, and how far the log had come, where that is kept; as `HeadsFile.save`."""
        self.heads.heard(newest)
        if self._kept is not None:
            self._kept.save()

    def set(self, key: str, value: Any, *, scope: str, ttl_ms: int | None, expected: int | None) -> int:
        """Put a value and return its version; `expected` is the version that it replaces. Raises ValueTooLargeError."""
        _check_key(key)
        text = jcs.canonical(value).decode()
        if (size := len(text.encode())) > limits.VAULT_VALUE_BYTES_MAX:
            raise ValueTooLargeError(f"the value has {size} bytes; the vault takes {limits.VAULT_VALUE_BYTES_MAX}")
        body = ContextWritten(scope=scope, key=key, value=text, ttl_ms=ttl_ms, expected=expected)
        told, answer = self._told(scope, body, changed=key)
        if told.get("version") != told["n"] or told.get("key") != key:
            raise MalformedReplyError("a change's version is its number in the scope", answer=answer)
        link = bytes.fromhex(told["h"])
        self.heads.note_version(told["scope"], key, told["n"], index=answer.result.audit_index, link=link)
        return _whole(told, "version")

    def entry(self, key: str, *, scope: str) -> VaultEntry:
        """Return a value with its version, 0 where there is none, as its writer signed it. Raises VaultForgedError."""
        _check_key(key)
        told, answer = self._told(scope, ContextRead(scope=scope, key=key))
        version, index, scope_id = _whole(told, "version"), answer.result.audit_index, told["scope"]
        if told.get("key") != key:
            raise VaultForgedError("the reply is about another key than was asked for")
        if not version:
            return VaultEntry(key=key, value=None, version=0)
        written = self._written(told, answer, scope, key, version)
        self.heads.check_version(scope_id, key, version, index=index, link=written.link)
        self.heads.note_version(scope_id, key, version, index=index, link=written.link)
        return VaultEntry(key=key, value=written.value, version=version, author=written.author)

    def _written(self, told: dict[str, Any], answer: Answer, scope: str, key: str, version: int) -> Written:
        # The leaf that the writer signed names the tenant's topic: another tenant's name makes the signature fail.
        tenant = answer.result.origin.rpartition("/")[2]
        place = Place(tenant, self._genesis, scope, told["scope"], key, self._session_id)
        written = check_written(told, place, version=version, at=answer.result.at, registry=self._registry)
        n, h = told["n"], bytes.fromhex(told["h"])
        if version > n or (version == n and written.link != h):
            raise VaultForgedError("the value's change does not stand in the scope's chain")
        return written

    def delete(self, key: str, *, scope: str, expected: int | None) -> None:
        """Remove a value. Raises RefusedError VAULT_ABSENT where there is none."""
        _check_key(key)
        told, answer = self._told(scope, ContextDeleted(scope=scope, key=key, expected=expected), changed=key)
        self.heads.note_version(told["scope"], key, told["n"] + 1, index=answer.result.audit_index)

    def keys(self, prefix: str, *, scope: str) -> list[tuple[str, int]]:
        """Return (key, version) of every key with a prefix, in order, at most LIST_KEYS_MAX."""
        found: list[tuple[str, int]] = []
        after = ""
        for _ in range(limits.VAULT_LIST_PAGES_MAX):
            body = ContextListed(scope=scope, prefix=prefix, after=after, limit=limits.VAULT_LIST_MAX)
            told, answer = self._told(scope, body)
            page = self._page(told, answer, prefix, after)
            found += page
            if told.get("more") is not True or len(found) >= LIST_KEYS_MAX:
                return found
            # A page may be empty, where values have just run out.
            following = told.get("next", page[-1][0] if page else None)
            if not isinstance(following, str) or following <= after:
                break
            after = following
        raise MalformedReplyError("the log's pages of keys do not go on")

    def _page(self, told: dict[str, Any], answer: Answer, prefix: str, after: str) -> list[tuple[str, int]]:
        """Return (key, version) of a page: what was asked for, in order, and nothing older than was told before."""
        page = told.get("keys")
        if not isinstance(page, list) or not all(isinstance(one, dict) for one in page):
            raise MalformedReplyError("the log's reply holds no list of keys", answer=answer)
        found, last = [], after
        for one in page:
            key, version = one.get("key"), _whole(one, "version")
            good = isinstance(key, str) and key.startswith(prefix) and key.encode() > last.encode()
            if not good or not 0 < version <= told["n"]:
                raise MalformedReplyError("the log's page holds what was not asked for, or not in order", answer=answer)
            self.heads.check_version(told["scope"], key, version, index=answer.result.audit_index)
            found.append((key, version))
            last = key
        return found

    def _told(self, scope: str, body: Body, changed: str | None = None) -> tuple[dict[str, Any], Answer]:
        floor = self.heads.floor()
        answer = self._speaker.tell(body)
        told = told_in(answer)
        name = f"{OWN}:{self._session_id.hex()}" if scope == OWN else scope
        if told.get("scope") != name:
            raise MalformedReplyError("the log's reply is about another scope", answer=answer)
        self._check(answer, told, name, floor, changed)
        if self._kept is not None:
            self._kept.changed()
        return told, answer

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
