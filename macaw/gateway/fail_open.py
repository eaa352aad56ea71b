"""The rule of calls without a decision (ADR 0040): which may run while no broker answers. It does no I/O.

All of these must hold, and each lack of one refuses the call:

- The gateway's operator has allowed it at all, and an administrator by a policy for `fail-open:…`, which the log has
  told the gateway no longer than `known_minutes` before the brokers went away.
- Within that time the log has said as well that this session may call this resource. So a principal or resource that
  was frozen, or is allowed by no policy, does not run.
- The log has not denied this very call to this principal.
- The brokers are away, and have been for no longer than `minutes`. Fewer than `calls` ran so within `known_minutes`,
  however often they were away in that time.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict, deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from processors.proof import jcs
from schemas.errors import UnavailableError

HEARD_MAX: Final = 16_384  # of (session, resource); the oldest is forgotten, and refused then
DENIED_OF_ONE_MAX: Final = 64  # calls of one principal; with more of them none of its calls runs
DENIED_PRINCIPALS_MAX: Final = 1024  # with more, no call runs
_DOMAIN: Final = "fail-open:"
_DECOY: Final = "fail-closed:"


class LogAwayError(UnavailableError):
    """The log is away, and a call does not run without its decision: nothing was executed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailOpen:
    """The bounds of calls without a decision."""

    minutes: float = 15.0
    calls: int = 100
    known_minutes: float = 60.0


def right_to(resource: str) -> str:
    """Return the name by which a policy lets a resource run without a decision: `fail-open:tool/office/read`."""
    return _DOMAIN + resource.replace(":", "/", 1)


def decoy_of(resource: str) -> str:
    """Return a name that no policy has a reason to name: a policy with a pattern that reaches it means everything."""
    return _DECOY + resource.replace(":", "/", 1)


def digest_of(parameters: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the canonical parameters, in hexadecimal digits. Raises LogAwayError."""
    try:
        return hashlib.sha256(jcs.canonical(dict(parameters))).hexdigest()
    except jcs.NotJSONError as exc:
        raise LogAwayError("these parameters are not JSON that a log would take; nothing was executed") from exc


class OpenRule:
    """The log's word on resources and callers, and the answers while it is away.

    Times are of one monotonic clock, in seconds. That of a word is when it was asked for: a call that was allowed, and
    ends an hour later, says nothing of the hour.
    """

    def __init__(self, settings: FailOpen) -> None:
        self.settings = settings
        self.away_since: float | None = None
        self._ran: deque[float] = deque(maxlen=max(1, settings.calls))
        self._open: dict[str, float] = {}  # resources that may run, with the time at which the log has said so
        self._heard: OrderedDict[tuple[bytes, str], float] = OrderedDict()
        self._taken: OrderedDict[tuple[bytes, str], float] = OrderedDict()  # back; without a resource, all of them
        self._taken_before = -math.inf  # of what is forgotten
        self._denied: dict[str, set[str]] = {}

    # --- what the log says

    def hear_open(self, asked: Collection[str], allowed: Collection[str], now: float) -> None:
        """Take in which resources may run without a decision, of those that were asked for, each with its decoy."""
        for one in asked:
            if right_to(one) in allowed and decoy_of(one) not in allowed:
                self._open[one] = now
            else:
                self._open.pop(one, None)

    def hear_caller(self, session_id: bytes, asked: Collection[str], allowed: Collection[str], now: float) -> None:
        """Take in which resources a session may call, of those that were asked for."""
        for one in asked:
            if one not in allowed:
                self._take_back(session_id, one, now)
            elif now >= max(self._taken_at(session_id, one), self._taken_at(session_id, "")):
                self._heard[session_id, one] = max(now, self._heard.pop((session_id, one), now))
        while len(self._heard) > HEARD_MAX:
            self._heard.popitem(last=False)

    def _taken_at(self, session_id: bytes, resource: str) -> float:
        return self._taken.get((session_id, resource), self._taken_before)

    def _take_back(self, session_id: bytes, resource: str, now: float) -> None:
        self._heard.pop((session_id, resource), None)
        self._taken[session_id, resource] = max(now, self._taken.pop((session_id, resource), now))
        while len(self._taken) > HEARD_MAX:
            self._taken_before = max(self._taken_before, self._taken.popitem(last=False)[1])

    def hear_denied(self, session_id: bytes, principal_id: str, resource: str, digest: str, now: float) -> None:
        """Take in that a call was denied."""
        self._take_back(session_id, resource, now)
        if principal_id in self._denied or len(self._denied) < DENIED_PRINCIPALS_MAX:
            found = self._denied.setdefault(principal_id, set())
            if len(found) <= DENIED_OF_ONE_MAX:
                found.add(f"{resource} {digest}")

    def heard(self) -> dict[bytes, list[str]]:
        """Return the resources that each session may call, of those that may run without a decision."""
        found: dict[bytes, list[str]] = {}
        for session_id, resource in self._heard:
            if resource in self._open:
                found.setdefault(session_id, []).append(resource)
        return found

    def forget(self, session_id: bytes, now: float) -> None:
        """Forget a session that is over, or frozen."""
        self._take_back(session_id, "", now)
        for one in [one for one in self._heard if one[0] == session_id]:
            del self._heard[one]

    # --- the outage

    def lose(self, now: float) -> None:
        """Take note that no broker answers."""
        if self.away_since is None:
            self.away_since = now

    def regain(self) -> None:
        """Take note that a broker answers again."""
        self.away_since = None

    def why_closed(self, session_id: bytes, principal_id: str, resource: str, digest: str, now: float) -> str:
        """Return why a call does not run without a decision; empty where it may, and it counts as one then."""
        away, settings = self.away_since, self.settings
        if away is None:
            return "the log is there"
        known_from, window = away - 60 * settings.known_minutes, 60 * settings.known_minutes
        heard, never = (session_id, resource), -math.inf
        denied = self._denied.get(principal_id, set())
        lacks = (
            (
                self._open.get(resource, never) < known_from,
                "no administrator has allowed this resource to run without a decision, as far as is known",
            ),
            (self._heard.get(heard, never) < known_from, "the log has not said lately that this caller may call it"),
            (f"{resource} {digest}" in denied, "the log has denied this call before"),
            (len(denied) > DENIED_OF_ONE_MAX, "the log has denied this caller too many calls"),
            (len(self._denied) >= DENIED_PRINCIPALS_MAX, "the log has denied calls of too many principals"),
            (now - away > 60 * settings.minutes, f"the log is away for longer than {settings.minutes:g} minutes"),
            (
                len(self._ran) >= settings.calls and (not self._ran or now - self._ran[0] < window),
                f"{settings.calls} calls have run without a decision within {settings.known_minutes:g} minutes",
            ),
        )
        why = next((text for is_lacking, text in lacks if is_lacking), "")
        if not why:
            self._ran.append(now)
        return why
