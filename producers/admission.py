"""What a tool host checks before it executes: everything, again.

The decision must be signed by a live monitor key and name this tool; the caller's own event must be inside it, signed
by a session that the registry knows; and what is executed must be what the caller signed, but for the parameters that
the decision lists as changed. So a compromised monitor cannot make a tool do what nobody asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from processors import jcs, sealing, signing
from processors.parameters import MalformedParametersError, parse_parameters
from producers.answers import PAYLOAD_HEADER, MonitorSigned, UntrustedRecordError
from producers.keys import KeyPair
from schemas import codec
from schemas.records import CallPayload, Decision, InvocationRequested


@dataclass(frozen=True, slots=True)
class Call:
    """A call that may be executed."""

    decision: Decision
    leaf: bytes
    parameters: dict[str, Any]
    principal_id: str


def admit(message: Any, trusted: MonitorSigned, *, tool: str, key: KeyPair, now_ms: int) -> Call | None:
    """Return the call in a record of `decisions`, or None where it is not for this tool, denied, or too late.

    Raises:
        UntrustedRecordError: the record is not what its signatures would have to say.
    """
    decision, leaf, sender = trusted.verify(message, signing.DECISION_TAG, Decision)
    if decision.outcome != "allowed" or decision.tool != tool:
        return None
    if decision.execute_before is None or now_ms >= decision.execute_before:
        return None
    payload = _open(message, decision, key, sender)
    body = _callers_event(decision, payload, trusted)
    return Call(decision, leaf, _parameters(decision, payload, body), decision.principal_id)


def _open(message: Any, decision: Decision, key: KeyPair, sender: bytes) -> CallPayload:
    sealed = [v for n, v in message.headers() or () if n == PAYLOAD_HEADER]
    if len(sealed) != 1 or decision.payload_sha256 is None:
        raise UntrustedRecordError("want one sealed payload")
    try:
        opened = sealing.open_sealed(sealed[0], key.kid, key.sealing, sender, decision.payload_sha256)
        payload: CallPayload = codec.decode(codec.current("CallPayload"), opened)
    except (sealing.SealingError, codec.SchemaError) as exc:
        raise UntrustedRecordError(str(exc)) from exc
    return payload


def _callers_event(decision: Decision, payload: CallPayload, trusted: MonitorSigned) -> InvocationRequested:
    session = trusted.registry.session(payload.kid)
    if session is None or payload.kid != decision.session_id or session.principal_id != decision.principal_id:
        raise UntrustedRecordError("the caller's session is not in the registry")
    event, leaf = trusted.verify_event(payload.event, payload.proof, payload.kid, session.ed25519)
    body = event.body
    if leaf != decision.event or not isinstance(body, InvocationRequested) or body.resource != decision.resource:
        raise UntrustedRecordError("the decision is about another event than the caller signed")
    return body


def _parameters(decision: Decision, payload: CallPayload, body: InvocationRequested) -> dict[str, Any]:
    """Return the parameters to execute; they differ from the caller's only at the paths under `changed`."""
    try:
        asked = parse_parameters(body.parameters)
        execute = parse_parameters(payload.parameters)
    except MalformedParametersError as exc:
        raise UntrustedRecordError(f"malformed parameters: {exc.cause}") from exc
    if execute.canonical != payload.parameters.encode() or execute.sha256 != decision.parameters_sha256:
        raise UntrustedRecordError("the parameters are not those of the decision")
    changed = {change.path for change in decision.changed}
    names = (asked.value.keys() | execute.value.keys()) - changed
    absent = object()
    for name in names:
        before, after = asked.value.get(name, absent), execute.value.get(name, absent)
        if before is absent or after is absent or jcs.canonical(before) != jcs.canonical(after):
            raise UntrustedRecordError("a parameter was changed that the decision does not list")
    return execute.value
