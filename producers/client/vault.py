"""The context vault from a client's side: JSON values that stay on the log, each with its proof.

A value is believed for its author's signature (`producers.client.author_proof`); a scope is checked against its earlier
states (`producers.home.heads`). After a change of its own the client computes the scope's link itself, if it knows the
link before. Which keys a list holds is known from the monitor alone, except for the scope's (n, h).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processors.calls.bodies import written
from processors.context.vault import OWN
from processors.proof import jcs
from producers.client.author_proof import ProvenValue, ValuePlace, VaultForgedError, check_written
from producers.home.heads import HeadsFile, ScopeHeads, VaultRollbackError
from producers.kafka.answers import Answer
from producers.kafka.bodies import Wanted
from producers.kafka.body_records import Outgoing
from producers.kafka.connection import Connection, reply_in
from producers.kafka.outcomes import MalformedReplyError
from schemas import limits
from schemas.errors import InputError
from schemas.events.bodies import BodyReference
from schemas.events.workflow import ContextDeleted, ContextListed, ContextRead, ContextWritten
from schemas.records import Body

__all__ = ["ContextVault", "ValueTooLargeError", "VaultEntry", "VaultForgedError", "VaultRollbackError"]

LIST_KEYS_MAX = 10_000
BODY_SECONDS = 30.0  # for a large value: it was sent before


class ValueTooLargeError(InputError):
    """The value or its key is larger than the vault takes; nothing was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultEntry:
    """A value of the vault. `version` serves as `expected` of a change; 0 stands for an absent value."""

    key: str
    value: Any
    version: int
    author: str = ""


class ContextVault:
    """The vault as one session uses it.

    Every operation raises RefusedError (VERSION_CONFLICT, or the reason of a policy), NoAnswerError, PublishError,
    MalformedReplyError and VaultRollbackError; reading also VaultForgedError.
    """

    def __init__(self, connection: Connection) -> None:
        """Use the vault with the connection of a session."""
        self._connection, self._genesis, self._session_id = connection, connection.genesis, connection.key.kid
        self.heads = ScopeHeads(self._genesis)
        self._kept: HeadsFile | None = None

    def keep_heads(self, path: Path | None) -> int:
        """Keep the heads of scopes in a file, beginning with those in it; return the newest audit index.

        Raises:
            HeadsError: the file cannot be read.
        """
        self._kept = None if path is None else HeadsFile(path, self.heads, own=f"{OWN}:{self._session_id.hex()}")
        return self.heads.floor()

    def save_heads(self, newest: int = -1) -> None:
        """Note that the log had come as far as `newest`, and write the heads to their file, if there is one."""
        self.heads.heard(newest)
        if self._kept is not None:
            self._kept.save()

    def set(self, key: str, value: Any, *, scope: str, ttl_ms: int | None, expected: int | None) -> int:
        """Put a value and return its version; `expected` is the version that it replaces. Raises ValueTooLargeError.

        A large one of the own scope travels beside the log, sealed to this session.
        """
        _check_key(key)
        text = jcs.canonical(value).decode()
        text, bodies = self._sent(text, scope)
        body = ContextWritten(scope=scope, key=key, value=text, ttl_ms=ttl_ms, expected=expected, bodies=bodies)
        reply, answer = self._asked(scope, body, changed=key)
        if reply.get("version") != reply["n"] or reply.get("key") != key:
            raise MalformedReplyError(
                "the log's reply gives a change another version than its number in the scope", answer=answer
            )
        link = bytes.fromhex(reply["h"])
        self.heads.note_version(reply["scope"], key, reply["n"], index=answer.result.audit_index, link=link)
        return _whole(reply, "version")

    def _sent(self, text: str, scope: str) -> tuple[str, tuple[BodyReference, ...]]:
        """Return a value as the log gets it; a large one is sent first. Raises ValueTooLargeError, PublishError."""
        content = text.encode()
        most = limits.BODY_BYTES_MAX if scope == OWN else limits.VAULT_VALUE_BYTES_MAX
        if len(content) > most:
            raise ValueTooLargeError(f"the value has {len(content)} bytes; the vault takes {most}")
        if len(content) <= limits.VAULT_VALUE_BYTES_MAX:
            return text, ()
        body, key = Outgoing.of(content), self._connection.key
        self._connection.link.bodies.send([body], key, [(key.kid, key.sealing.public)])
        return jcs.canonical(written(body.reference)).decode(), (body.reference,)

    def _value(self, proven: ProvenValue) -> Any:
        """Return a value, fetched if it travels beside the log. Raises BodyMissingError."""
        if not proven.bodies:
            return proven.value
        key = self._connection.key
        wanted = Wanted(references=proven.bodies, key=key, sender=key.sealing.public, since_ms=proven.issued_at)
        content = self._connection.link.bodies.fetch(wanted, seconds=BODY_SECONDS)[proven.bodies[0].digest]
        return json.loads(content)

    def entry(self, key: str, *, scope: str) -> VaultEntry:
        """Return a value with its version, 0 if it is absent, as its author signed it.

        Raises VaultForgedError; BodyMissingError for a large value that cannot be fetched now.
        """
        _check_key(key)
        reply, answer = self._asked(scope, ContextRead(scope=scope, key=key))
        version, index, scope_id = _whole(reply, "version"), answer.result.audit_index, reply["scope"]
        if reply.get("key") != key:
            raise VaultForgedError("the reply is about another key than the one that was asked for")
        if not version:
            return VaultEntry(key=key, value=None, version=0)
        proven = self._written(reply, answer, scope, key, version)
        self.heads.check_version(scope_id, key, version, index=index, link=proven.link)
        self.heads.note_version(scope_id, key, version, index=index, link=proven.link)
        return VaultEntry(key=key, value=self._value(proven), version=version, author=proven.author)

    def _written(self, reply: dict[str, Any], answer: Answer, scope: str, key: str, version: int) -> ProvenValue:
        # The leaf that the writer signed names the tenant's topic: another tenant's name makes the signature fail.
        tenant = answer.result.origin.rpartition("/")[2]
        place = ValuePlace(tenant, self._genesis, scope, reply["scope"], key, self._session_id)
        proven = check_written(reply, place, version=version, at=answer.result.at, registry=self._connection.registry)
        n, h = reply["n"], bytes.fromhex(reply["h"])
        if version > n or (version == n and proven.link != h):
            raise VaultForgedError("the value's change does not stand in the scope's chain")
        return proven

    def delete(self, key: str, *, scope: str, expected: int | None) -> None:
        """Remove a value. Raises RefusedError VAULT_ABSENT if it is absent."""
        _check_key(key)
        reply, answer = self._asked(scope, ContextDeleted(scope=scope, key=key, expected=expected), changed=key)
        self.heads.note_version(reply["scope"], key, reply["n"] + 1, index=answer.result.audit_index)

    def keys(self, prefix: str, *, scope: str) -> list[tuple[str, int]]:
        """Return (key, version) of every key with a prefix, in order, at most LIST_KEYS_MAX."""
        found: list[tuple[str, int]] = []
        after = ""
        for _ in range(limits.VAULT_LIST_PAGES_MAX):
            body = ContextListed(scope=scope, prefix=prefix, after=after, limit=limits.VAULT_LIST_MAX)
            reply, answer = self._asked(scope, body)
            page = self._page(reply, answer, prefix, after)
            found += page
            if reply.get("more") is not True or len(found) >= LIST_KEYS_MAX:
                return found
            # A page may be empty, where values have just run out.
            following = reply.get("next", page[-1][0] if page else None)
            if not isinstance(following, str) or following <= after:
                break
            after = following
        raise MalformedReplyError("the log's pages of keys do not go on")

    def _page(self, reply: dict[str, Any], answer: Answer, prefix: str, after: str) -> list[tuple[str, int]]:
        """Return (key, version) of a page: the keys that were asked for, in order, none older than known before."""
        page = reply.get("keys")
        if not isinstance(page, list) or not all(isinstance(one, dict) for one in page):
            raise MalformedReplyError("the log's reply holds no list of keys", answer=answer)
        found, last = [], after
        for one in page:
            key, version = one.get("key"), _whole(one, "version")
            good = isinstance(key, str) and key.startswith(prefix) and key.encode() > last.encode()
            if not good or not 0 < version <= reply["n"]:
                raise MalformedReplyError(
                    "the log's page holds keys that were not asked for, or not in order", answer=answer
                )
            self.heads.check_version(reply["scope"], key, version, index=answer.result.audit_index)
            found.append((key, version))
            last = key
        return found

    def _asked(self, scope: str, body: Body, changed: str | None = None) -> tuple[dict[str, Any], Answer]:
        floor = self.heads.floor()
        answer = self._connection.ask(body)
        reply = reply_in(answer)
        name = f"{OWN}:{self._session_id.hex()}" if scope == OWN else scope
        if reply.get("scope") != name:
            raise MalformedReplyError("the log's reply is about another scope", answer=answer)
        self._check(answer, reply, name, floor, changed)
        if self._kept is not None:
            self._kept.changed()
        return reply, answer

    def _check(self, answer: Answer, reply: dict[str, Any], scope: str, floor: int, changed: str | None) -> None:
        n, result = _whole(reply, "n"), answer.result
        try:
            h = bytes.fromhex(str(reply.get("h")))
        except ValueError as exc:
            raise MalformedReplyError("the log's reply holds no link of the chain", answer=answer) from exc
        change = None if changed is None else (changed, result.event)
        self.heads.check(scope, (n, h), index=result.audit_index, floor=floor, change=change)


def _check_key(key: str) -> None:
    if len(key.encode("utf-8", "surrogatepass")) > limits.VAULT_KEY_BYTES_MAX:
        raise ValueTooLargeError(
            f"the key has more than {limits.VAULT_KEY_BYTES_MAX} bytes, the most that the vault takes"
        )


def _whole(reply: dict[str, Any], name: str) -> int:
    value = reply.get(name)
    if type(value) is not int or value < 0:
        raise MalformedReplyError(f"the log's reply holds no number {name!r}")
    return value
