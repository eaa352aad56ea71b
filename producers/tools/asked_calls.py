"""Calls that wait for a verifier, as its host reads them from decisions, and the verdicts that it signs.

A call is shown to a judge only if the monitor's decision asks for this verifier, and only with the bytes that its
caller signed: a lying monitor cannot have others judged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from processors.calls.parameters import MalformedParametersError, parse_parameters
from processors.calls.verifiers import outside
from processors.identity.verifiers import StandingVerifier, is_stamp_name
from processors.proof import jcs, sealing, signing
from processors.refusal import Refusal
from processors.text.characters import has_hidden, utf8_size
from producers.home.keys import KeyPair
from producers.kafka.consuming import headers_of
from producers.kafka.verified import MonitorSigned, UntrustedRecordError
from schemas import codec, limits
from schemas.errors import UnavailableError
from schemas.events.verdicts import VerdictReported, VerifierFinding
from schemas.reasons import Reason
from schemas.records import CallPayload, Decision, Event, InvocationRequested, SessionOpened
from schemas.words import Outcome, Surface, VerifierOutcome

HEADER_BYTES = 1024  # of a verdict: its header, with a long name, and its digests
PATH_CHARS_MAX = 256  # of a finding
LIFE_MS = 30_000  # of a verdict, at most; its verifier may have declared less


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


class Opinion(NamedTuple):
    """A judge's answer: pass, deny or ask, every declared stamp, and places in the parameters."""

    outcome: str
    stamps: Mapping[str, Any]
    findings: Sequence[VerifierFinding] = ()


CallJudge = Callable[[AskedCall], Opinion]


class JudgeFailedError(UnavailableError):
    """A judge raised, ended its process, or did not come back. `failure` is the class of its error, never its text."""

    def __init__(self, failure: str) -> None:
        super().__init__(failure)
        self.failure = failure


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
    sealed = [value for name, value in headers_of(message) if name == sealing.PAYLOAD_HEADER]
    if len(sealed) != 1 or sealed[0] is None or decision.payload_sha256 is None:
        raise UntrustedRecordError("the record must have exactly one sealed payload")
    if not is_sealed_to(sealed[0], key.kid):
        return None  # other verifiers are asked
    try:
        payload: CallPayload = codec.decode(
            codec.current("CallPayload"), key.open_sealed(sealed[0], sender, decision.payload_sha256)
        )
    except (sealing.SealingError, codec.SchemaError) as exc:
        raise UntrustedRecordError(str(exc)) from exc
    return _signed_call(decision, payload, trusted)


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


def verdict_of(
    one: StandingVerifier, call: AskedCall, opinion: Opinion | None, *, failure: str, now_ms: int
) -> tuple[VerdictReported, str]:
    """Return the verdict to sign, and the failure of the judge, empty for none: then it is its opinion."""
    body = _body(one, call, Opinion(VerifierOutcome.DENY, _worst(one)), now_ms)
    if failure:
        return body, failure
    try:
        if not isinstance(opinion, Opinion):
            return body, "NoOpinion"
        own = _body(one, call, opinion, now_ms)
        flaw = "" if all(map(_is_plain, own.findings)) else "MalformedFinding"
        if not flaw:
            outside.stamps_of(one, own)
            flaw = "OversizedOpinion" if _size(own) > limits.VERDICT_EVENT_BYTES_MAX - HEADER_BYTES else ""
    except (Refusal, jcs.NotJSONError) as exc:
        return body, f"MalformedOpinion ({type(exc).__name__})"
    except BaseException as exc:  # noqa: BLE001 - its opinion is foreign too: any type in any place
        return body, type(exc).__name__
    return (body, flaw) if flaw else (own, "")


def _is_plain(finding: Any) -> bool:
    """Return whether a finding can be encoded and shown: a kind in the form of stamps' names, and a path of plain text.

    Its numbers are integers; the fold's own rules bound them.
    """
    if type(finding) is not VerifierFinding:
        return False
    texts, numbers = (finding.kind, finding.path), (finding.start, finding.end)
    if any(type(one) is not str for one in texts) or any(type(one) is not int for one in numbers):
        return False
    return is_stamp_name(finding.kind) and len(finding.path) <= PATH_CHARS_MAX and not has_hidden(finding.path)


def _size(body: VerdictReported) -> int:
    """Return about how many bytes a verdict takes beside its header and digests."""
    texts = (body.resource, body.stamps, *(text for one in body.findings for text in (one.kind, one.path)))
    return sum(map(utf8_size, texts))


def _worst(one: StandingVerifier) -> dict[str, Any]:
    return {name: value for name, value in one.worst.items() if name in one.types}


def _body(one: StandingVerifier, call: AskedCall, opinion: Opinion, now_ms: int) -> VerdictReported:
    return VerdictReported(
        call=call.event_id,
        session=call.session_id,
        resource=call.resource,
        parameters_sha256=call.parameters_sha256,
        surface=str(Surface.ARGUMENTS),
        catalogue=one.declared.catalogue,
        expires_at=now_ms + min(one.declared.max_age_ms, LIFE_MS),
        outcome=str(opinion.outcome),
        stamps=jcs.canonical(dict(opinion.stamps)).decode(),
        findings=tuple(opinion.findings),
    )
