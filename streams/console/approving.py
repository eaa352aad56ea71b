"""Approvals in the console of a person's own machine: the keys of that home sign, and only what was verified here.

The client fetches each call as its caller signed it, and computes the digest itself (`producers/client/approvals.py`);
no page, list or store is believed. An answer names the digest of the parameters that the page showed: if the call has
another one by then, nothing is signed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from producers.client import Client
from producers.client.approvals import ParametersChangedError, ShownCall

LISTED_SECONDS = 2.0  # the age that a list may have: several open pages ask the log once
REASON_CHARS_MAX = 200

Row = Mapping[str, Any]


class GivenAnswer(NamedTuple):
    """An answer as a page's form gives it: about one request of a call, with the digest and the terms of the page."""

    call: str
    key: str
    parameters_sha256: str
    terms: str
    is_yes: bool
    reason: str


_TERMS = ("resource", "for_user", "for_agent", "criteria", "quorum", "one_time", "scopes")


def terms_of(asked: Row) -> str:
    """Return the digest of the terms of a request that a page shows: for whom it is, who answers, and for how long."""
    return hashlib.sha256(json.dumps([asked.get(name) for name in _TERMS], sort_keys=True).encode()).hexdigest()


class ApprovalDesk:
    """One principal's approvals. Thread-safe: its client is asked by one thread at a time."""

    def __init__(self, client: Client, name: str) -> None:
        self._client, self.name = client, name
        self._lock = threading.Lock()
        self._listed: list[Row] = []
        self._listed_at = float("-inf")

    def close(self) -> None:
        """Close the client."""
        self._client.close()

    def waiting(self) -> list[Row]:
        """Return the requests that this principal may answer. Raises as `Client.list_attestations`."""
        with self._lock:
            if time.monotonic() - self._listed_at > LISTED_SECONDS:
                self._listed = list(self._client.list_attestations())
                self._listed_at = time.monotonic()
            return self._listed

    def shown(self, call: str) -> ShownCall:
        """Return a call with its exact parameters. Raises as `Client.show_call`."""
        with self._lock:
            return self._client.show_call(call)

    def answer(self, given: GivenAnswer) -> bool:
        """Sign an answer; return whether the log took it.

        Raises:
            ParametersChangedError: the call has other parameters or terms than the page showed; nothing was signed.
            MacawError: as `Client.approve_attestation`.
        """
        with self._lock:
            self._listed_at = float("-inf")
            shown = self._client.show_call(given.call)
            if not hmac.compare_digest(shown.parameters_sha256.hex().encode(), given.parameters_sha256.encode()):
                raise ParametersChangedError("the call has other parameters than the page showed; nothing was signed")
            asked = shown.request_for(given.key)
            if not hmac.compare_digest(terms_of(asked), given.terms):
                raise ParametersChangedError("the call has other terms than the page showed; nothing was signed")
            answer = self._client.approve_attestation if given.is_yes else self._client.deny_attestation
            return answer(asked, reason=given.reason)
