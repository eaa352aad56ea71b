"""Calls that wait for a verifier, as its host reads them from decisions.

A call is shown to a judge only if the monitor's decision asks for this verifier, and only with the bytes that its
caller signed: a lying monitor cannot have others judged.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from processors.calls.parameters import MalformedParametersError, parse_parameters
from processors.proof import jcs, sealing, signing
from producers.home.keys import KeyPair
from producers.kafka.consuming import headers_of
from producers.kafka.verified import MonitorSigned, UntrustedRecordError
from schemas import codec, limits
from schemas.reasons import Reason
from schemas.records import CallPayload, Decision, Event, InvocationRequested, SessionOpened
from schemas.words import Outcome


class AskedCall(NamedTuple):
    """A call that waits for a verdict. `parameters` are the judge's own copy."""

    event_id: bytes
    session_id: bytes
    principal_id: str
    subjects: tuple[str, ...]
    resource: str
    parameters: dict[str, Any]
    parameters_sha256: bytes
    event: bytes


def asked_of(message: Any, trusted: MonitorSigned, *, key: KeyPair, now_ms: int) -> AskedCall | None:
    """Return the call in a record of `decisions` that waits for the holder of a key; None if it does not.

    Raises:
        UntrustedRecordError: no live monitor key signed it, or it is not the call that its caller signed.
        RegistryError: the registry cannot be read, so nothing can be told now.
    """
    try:
        claimed: Decision = codec.decode_as(Decision, message.value() or b"")
    except codec.SchemaError as exc:
        raise UntrustedRecordError(str(exc)) from exc
    if claimed.outcome != Outcome.PENDING or claimed.reason != Reason.VERDICT_PENDING:
        return None
    decision, _, sender = trusted.verify(message, signing.DECISION_TAG, Decision)
    if now_ms > decision.decided_at + limits.VERDICT_WAIT_MS + limits.ISSUED_AHEAD_MS_MAX:
        return None
    sealed = sealed_of(message)
    if sealed is None or decision.payload_sha256 is None:
        raise UntrustedRecordError("the record must have exactly one sealed payload")
    if not is_sealed_to(sealed, key.kid):
        return None  # other verifiers are asked
    try:
        payload: CallPayload = codec.decode(
            codec.current("CallPayload"), key.open_sealed(sealed, sender, decision.payload_sha256)
        )
    except (sealing.SealingError, codec.SchemaError) as exc:
        raise UntrustedRecordError(str(exc)) from exc
    return _signed_call(decision, payload, trusted)


def sealed_of(message: Any) -> bytes | None:
    """Return the sealed payload of a record, None unless it has exactly one."""
    found = [value for name, value in headers_of(message) if name == sealing.PAYLOAD_HEADER]
    return found[0] if len(found) == 1 else None


def is_sealed_to(header: bytes, kid: bytes) -> bool:
    """Return whether a sealed payload names a key among its recipients."""
    count, size = header[32] if len(header) > 33 else 0, sealing.WRAPPED_BYTES
    return any(header[33 + at * size : 65 + at * size] == kid for at in range(count))


def _signed_call(decision: Decision, payload: CallPayload, trusted: MonitorSigned) -> AskedCall:
    """Return the call as its caller signed it. The session's id is the digest of its key, so no registry is asked."""
    if payload.session is None or payload.kid != decision.session_id:
        raise UntrustedRecordError("the decision is about a call of another session")
    try:
        opening: Event = codec.decode_as(Event, payload.session.event)
    except codec.SchemaError as exc:
        raise UntrustedRecordError(str(exc)) from exc
    if not isinstance(opening.body, SessionOpened):
        raise UntrustedRecordError("the payload does not hold the opening of the caller's session")
    event, leaf = trusted.verify_event(payload.event, payload.proof, payload.kid, opening.body.key.ed25519)
    body = event.body
    if leaf != decision.event or not isinstance(body, InvocationRequested):
        raise UntrustedRecordError("the decision is about another event than the caller signed")
    if (body.resource, event.header.event_id) != (decision.resource, decision.event_id):
        raise UntrustedRecordError("the decision names another resource or event id than the caller signed")
    try:
        parameters = parse_parameters(body.parameters)
    except MalformedParametersError as exc:
        raise UntrustedRecordError("the caller's parameters are not strict JSON") from exc
    own: Any = jcs.parse_strict(parameters.canonical, nodes_max=limits.PARAMETERS_NODES_MAX)
    return AskedCall(
        decision.event_id, payload.kid, decision.principal_id, decision.subjects, body.resource, own,
        parameters.sha256, leaf,
    )  # fmt: skip
