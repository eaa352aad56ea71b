"""Attestations of a running call: set by the function itself, or declared once and set whenever it ends well.

    from producers.tools import context

    @tool(attests=("supplier_checked",))
    def check(supplier: str) -> bool:
        context.attestations.set("supplier_checked", supplier, one_time=True, time_to_live=600)
        ...

They travel with the signed report, and only with that of a call that ended well. Only declared keys can be set: the log
would refuse the whole report for another key.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from processors.calls.attestations import is_reserved, matches_any
from processors.policy.errors import PolicyError
from processors.policy.limits import USES_MAX
from processors.policy.requirements import parse_key
from processors.proof import jcs
from processors.text.characters import is_printable
from schemas import limits
from schemas.errors import MisuseError
from schemas.records import Attestation


class AttestationError(MisuseError):
    """The attestation cannot be made: the key is not declared, or the log would refuse it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The value and limits of an attestation that a tool declares; it is made whenever the tool ends well."""

    value: Any = True
    one_time: bool = False
    max_uses: int | None = None
    ttl_seconds: float | None = None

    @classmethod
    def read(cls, key: str, given: Mapping[str, Any]) -> Terms:
        """Return the terms that an author wrote for a key. Raises AttestationError."""
        try:
            terms = cls(**given)
        except TypeError as exc:
            raise AttestationError(
                f"auto_attest of {key!r} takes value, one_time, max_uses and ttl_seconds, got {', '.join(given)[:80]}"
            ) from exc
        terms.attestation(key)
        return terms

    def attestation(self, key: str) -> Attestation:
        """Return the attestation under a key. Raises AttestationError."""
        _check(key, self)
        try:
            value = jcs.canonical(self.value).decode()
        except (ValueError, TypeError, RecursionError) as exc:
            raise AttestationError(f"the value of {key!r} is not JSON") from exc
        if len(value.encode()) > limits.ATTESTATION_VALUE_BYTES_MAX:
            raise AttestationError(f"the value of {key!r} has more than {limits.ATTESTATION_VALUE_BYTES_MAX} bytes")
        ttl_ms = None if self.ttl_seconds is None else int(self.ttl_seconds * 1000)
        return Attestation(key=key, value=value, one_time=self.one_time, max_uses=self.max_uses, ttl_ms=ttl_ms)


def _check(key: str, terms: Terms) -> None:
    try:
        parse_key(key, "")
    except PolicyError as exc:
        raise AttestationError(f"{key[:80]!r} is not an attestation key") from exc
    if is_reserved(key):
        raise AttestationError(f"{key!r} is reserved, and no tool may attest it")
    most, ttl = terms.max_uses, terms.ttl_seconds
    if most is not None and (type(most) is not int or not 1 <= most <= (1 if terms.one_time else USES_MAX)):
        raise AttestationError(f"max_uses of {key!r} must be 1 to {USES_MAX}, and 1 with one_time")
    longest = limits.ATTESTATION_TTL_MS_MAX / 1000
    if ttl is not None and not (math.isfinite(ttl) and 0.001 <= ttl <= longest):
        raise AttestationError(f"the life of {key!r} must be 0.001 to {longest:g} seconds")


def check_declared(keys: Sequence[str]) -> None:
    """Check the keys, or patterns of keys, that a tool declares to attest. Raises AttestationError."""
    for key in keys:
        if is_reserved(key):
            raise AttestationError(f"{key!r} is reserved, and no tool may attest it")
        if not key or not is_printable(key) or len(key) > limits.NAME_CHARS_MAX:
            raise AttestationError(f"{key[:80]!r} is neither an attestation key nor a pattern of keys")


@dataclass(slots=True)
class CallAttestations:
    """The attestations of one running call."""

    declared: tuple[str, ...]
    said: dict[str, Attestation] = field(default_factory=dict)

    def put(self, key: str, terms: Terms) -> None:
        """Set an attestation, in place of an earlier one under this key. Raises AttestationError."""
        if not matches_any(self.declared, key):
            raise AttestationError(f"the tool does not declare {key[:80]!r}: name it in @tool(attests=...)")
        if key not in self.said and len(self.said) >= limits.ATTESTATIONS_PER_REPORT_MAX:
            raise AttestationError(f"a call attests at most {limits.ATTESTATIONS_PER_REPORT_MAX} keys")
        self.said[key] = terms.attestation(key)


NOTHING = CallAttestations(())  # declares no key, so none can be said

_RUNNING: ContextVar[CallAttestations] = ContextVar("macaw_attestations")


@contextmanager
def attesting(attestations: CallAttestations) -> Iterator[None]:
    """Make these the attestations of the call that runs in the block."""
    before = _RUNNING.set(attestations)
    try:
        yield
    finally:
        _RUNNING.reset(before)


class RunningAttestations:
    """The type of `context.attestations`: the attestations of the call that runs here."""

    def set(
        self,
        key: str,
        value: Any,
        *,
        max_uses: int | None = None,
        one_time: bool = False,
        time_to_live: float | None = None,
    ) -> None:
        """Attest that something holds for the caller's session, once this call has ended well.

        Raises:
            AttestationError: the key is not declared, or a value is out of bounds.
            LookupError: no call runs here.
        """
        try:
            running = _RUNNING.get()
        except LookupError:
            raise LookupError("no tool call runs in this context: there is nothing to attest") from None
        running.put(key, Terms(value=value, max_uses=max_uses, one_time=one_time, ttl_seconds=time_to_live))


@dataclass(frozen=True, slots=True)
class RunningContext:
    """The context of the call that runs here; `context` is its only instance."""

    attestations: RunningAttestations = field(default_factory=RunningAttestations)


context = RunningContext()
