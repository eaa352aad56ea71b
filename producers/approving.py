"""Approvals from a person's side: what is asked of them, the exact parameters, and a yes or no that binds to those.

Nothing is signed before the call was fetched as its caller signed it: resource, parameters and who asks are read from
there, and their digest is computed here. So an approval is for what was shown, whatever a list or a monitor said. For
whom somebody else's call is made, who may approve it and who has is the log's word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from processors.calls.parameters import MalformedParametersError, parse_parameters
from producers.answers import Answer
from producers.control import Speaker, rows_in
from producers.outcomes import CallError, MalformedReplyError, digest_of
from producers.registry_view import RegistryView
from producers.written import Log, VaultForgedError, signed_in_session
from schemas.records import InvocationRequested
from schemas.workflow import AttestationApproved, AttestationDenied


class ParametersChangedError(CallError):
    """The call has other parameters than the list said; nothing was signed."""


class CallForgedError(CallError):
    """CALL_FORGED: what is told of a call is not what its caller signed, or nothing shows that anybody did."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"CALL_FORGED: {why}; the call is not believed, and nothing was signed: ask whoever runs the monitor",
            reason="CALL_FORGED",
        )


class CallOverError(CallError):
    """The call waits no more; `outcome` says how it ended. Told to who asked it, from any session of theirs."""

    def __init__(self, outcome: str) -> None:
        super().__init__(
            f"the call is over: {outcome}; what it gave is sealed to the session that asked, and opens with that "
            "session's key only"
        )
        self.outcome = outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownCall:
    """A call that waits, as its caller signed it. `parameters_sha256` was computed here; `requests` the log tells."""

    request: str
    resource: str
    principal: str
    parameters: dict[str, Any]
    parameters_sha256: bytes
    requests: tuple[dict[str, Any], ...]

    def request_for(self, key: str) -> dict[str, Any]:
        """Return what is asked under a key. Raises ParametersChangedError where nothing is."""
        for one in self.requests:
            if one.get("key") == key:
                return one
        raise ParametersChangedError(f"nothing is asked under {key!r} for this call any more")


def pending_requests(speaker: Speaker) -> list[dict[str, Any]]:
    """Return every request that the speaker may answer. Raises as `Speaker.question`."""
    return rows_in(speaker.pages("approvals"), "requests")


def own_attestations(speaker: Speaker) -> list[dict[str, Any]]:
    """Return everything that was attested for the speaker's own session. Raises as `Speaker.question`."""
    return rows_in(speaker.pages("attestations"), "attestations")


@dataclass(frozen=True, slots=True)
class Desk:
    """Where somebody answers: who speaks, in which log, and the registry that says whose keys are whose."""

    speaker: Speaker
    log: Log
    registry: RegistryView


def show_call(desk: Desk, request: str) -> ShownCall:
    """Return a waiting call with its exact parameters, their digest computed here.

    Raises:
        RefusedError: APPROVAL_UNKNOWN, nothing is asked of the speaker about this call.
        CallOverError: the call was the speaker's own, and waits no more.
        MalformedIdError: that is no digest of a call's event.
        CallForgedError: it is not shown as its caller signed it.
        ParametersChangedError: the digest that is asked for is not that of the parameters.
        MalformedReplyError, NoAnswerError, PublishError, RegistryError.
    """
    digest_of(request, "the digest of a call's event, as the list of approvals has it")
    told = desk.speaker.question("invocation", request)
    if told.get("event") == request and isinstance(told.get("outcome"), str):
        raise CallOverError(str(told["outcome"]))
    requests = told.get("requests")
    if told.get("event") != request or not isinstance(requests, list):
        raise MalformedReplyError("the log's reply is about another call")
    body, principal = _called(desk, told, request)
    try:
        read = parse_parameters(body.parameters)
    except MalformedParametersError as exc:
        raise CallForgedError("the caller has signed no parameters") from exc
    for one in requests:
        if not isinstance(one, dict) or one.get("request") != request or one.get("resource") != body.resource:
            raise MalformedReplyError("the log's reply is about several calls")
        if one.get("parameters_sha256") != read.sha256.hex():
            raise ParametersChangedError("the digest that is asked for is not that of the parameters that are shown")
    return ShownCall(
        request=request,
        resource=body.resource,
        principal=principal,
        parameters=read.value,
        parameters_sha256=read.sha256,
        requests=tuple(requests),
    )


def _called(desk: Desk, told: Mapping[str, Any], request: str) -> tuple[InvocationRequested, str]:
    """Return what a caller signed, and who that is. Raises CallForgedError, RegistryError."""
    try:
        event, leaf, _ = signed_in_session(told, "call", desk.log, registry=desk.registry)
    except VaultForgedError as exc:
        raise CallForgedError(exc.why) from exc
    if leaf.hex() != request or not isinstance(event.body, InvocationRequested):
        raise CallForgedError("the caller has signed another event")
    return event.body, event.header.principal_id


def check_listed(listed: Mapping[str, Any], shown: ShownCall) -> str:
    """Return the key of a request that was listed. Raises ParametersChangedError where the call is another one."""
    key = str(listed.get("key"))
    asked = shown.request_for(key)
    for name in ("resource", "for_user", "for_agent", "parameters_sha256"):
        if name in listed and listed[name] != asked.get(name):
            raise ParametersChangedError(f"{name} is not what was listed; nothing was signed")
    if listed.get("parameters_sha256") != shown.parameters_sha256.hex():
        raise ParametersChangedError("the parameters are not those that were listed; nothing was signed")
    return key


def approve(desk: Desk, listed: Mapping[str, Any], reason: str) -> Answer:
    """Say yes to a request as it was listed, once its parameters are those. Raises as `show_call`, and RefusedError."""
    return _answer(desk, listed, reason, AttestationApproved)


def deny(desk: Desk, listed: Mapping[str, Any], reason: str) -> Answer:
    """Say no to a request as it was listed, once its parameters are those. Raises as `approve`."""
    return _answer(desk, listed, reason, AttestationDenied)


def _answer(
    desk: Desk, listed: Mapping[str, Any], reason: str, says: type[AttestationApproved | AttestationDenied]
) -> Answer:
    shown = show_call(desk, str(listed.get("request")))
    key = check_listed(listed, shown)
    request = bytes.fromhex(shown.request)
    return desk.speaker.tell(says(request=request, key=key, parameters_sha256=shown.parameters_sha256, reason=reason))
