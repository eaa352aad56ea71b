"""One HTTP POST of JSON to a channel, with the bridge's rules for addresses, TLS, bytes and time.

An address that is not public is refused unless the configuration names its host; a redirect is an answer like any other
and is not followed. `streams/bridge/fetching.py` has the rules.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import httpcore

from processors.proof.jcs import MalformedJSONError, parse_strict
from schemas.errors import UnavailableError
from streams.bridge.addresses import Location
from streams.bridge.fetching import Fetcher, Wire
from streams.bridge.reasons import FetchError, FetchReason

POST_SECONDS = 5.0
ANSWER_BYTES_MAX = 256 * 1024
RETRY_AFTER_SECONDS_MAX = 300.0
_SECONDS = re.compile(rb"[0-9]{1,6}")


class PostError(UnavailableError):
    """A message was not taken by its channel. `retry_after_s` is the pause that the channel asks for, if it does.

    The text has a code and fixed words, or the status of HTTP, and no word of the answer.
    """

    def __init__(self, why: str, retry_after_s: float | None = None) -> None:
        super().__init__(why)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class ChannelReply:
    """An answer of HTTP: its status, the wait that it asks for, and the JSON object in it, if it is one."""

    status: int
    retry_after_s: float | None
    value: Mapping[str, Any] = field(repr=False)

    def raise_for_status(self, place: str) -> None:
        """Raise PostError unless the status is 2xx."""
        if self.status // 100 == 3:
            raise PostError(f"{place} redirects (status {self.status}), and redirects are not followed")
        if self.status // 100 != 2:
            raise PostError(f"{place} answered with status {self.status}", self.retry_after_s)


class Poster:
    """Posts JSON, each message on the thread of its caller. `fetcher` replaces the network for tests."""

    def __init__(self, fetcher: Fetcher | None = None) -> None:
        self._fetcher = fetcher or Fetcher()

    def post(self, url: str, private_hosts: Collection[str], body: bytes, headers: Mapping[str, str]) -> ChannelReply:
        """Return the answer. Blocks for at most POST_SECONDS. Raises PostError."""
        sent = [("Content-Type", "application/json; charset=utf-8"), ("Accept-Encoding", "identity"), *headers.items()]

        def ask(place: Location, wire: Wire) -> ChannelReply:
            with self._fetcher.exchange(place, wire, "POST", sent, body) as answer:
                return _reply(answer, wire)

        try:
            return self._fetcher.over_wire(url, private_hosts, POST_SECONDS, ask)
        except FetchError as exc:
            raise PostError(f"{exc.reason}: {exc.reason.meaning}") from None

    def close(self) -> None:
        """End every message under way, and refuse further ones."""
        self._fetcher.close()


def to_json(value: Any) -> bytes:
    """Return the bytes of a message."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode()


def _reply(answer: httpcore.Response, wire: Wire) -> ChannelReply:
    waits = [value for name, value in answer.headers if name.lower() == b"retry-after"]
    wait = float(waits[0]) if len(waits) == 1 and _SECONDS.fullmatch(waits[0]) else None
    if answer.status != HTTPStatus.OK:
        return ChannelReply(answer.status, None if wait is None else min(wait, RETRY_AFTER_SECONDS_MAX), {})
    wire.begin_body()
    data = bytearray()
    for part in answer.iter_stream():
        data += part
        if len(data) > ANSWER_BYTES_MAX:
            raise FetchError(FetchReason.FETCH_TOO_LARGE)
    return ChannelReply(answer.status, None, _object(bytes(data)))


def _object(data: bytes) -> Mapping[str, Any]:
    """Return the JSON object of an answer; an answer of another kind, as Slack's `ok`, has no members."""
    try:
        value = parse_strict(data)
    except MalformedJSONError:
        return {}
    return value if isinstance(value, dict) else {}
