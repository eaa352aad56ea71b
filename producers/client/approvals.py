"""Approvals from a person's side: the open requests, the exact parameters, and a yes or no that binds to those.

Nothing is signed before the call was fetched as its caller signed it: resource, parameters and caller are read from
there, and the digest is computed here. So an approval is for the call that was shown, whether or not a list or a
monitor lied. For which principal a delegated call is made, and who may approve it and has, is known from the log alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

from processors.calls.masked_form import NotMaskedError, check_blanked
from processors.calls.parameters import MalformedParametersError, Parameters, parse_parameters
from processors.policy.json_types import pointer_to
from producers.client.author_proof import LogIdentity, VaultForgedError, signed_in_session
from producers.client.inputs import digest_of
from producers.kafka.answers import Answer
from producers.kafka.connection import Connection, rows_in
from producers.kafka.outcomes import CallError, MalformedReplyError
from schemas.events.workflow import AttestationApproved, AttestationDenied
from schemas.records import InvocationRequested


class ParametersChangedError(CallError):
    """The call has other parameters than the list said; nothing was signed."""


class CallForgedError(CallError):
    """CALL_FORGED: a call is shown in another form than its caller signed, or without any proof."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"CALL_FORGED: {why}; the call is not believed, and nothing was signed: ask the operator of the monitor",
            reason="CALL_FORGED",
        )


class CallOverError(CallError):
    """The call does not wait any more; `outcome` is how it ended. Only its caller gets this, from any session."""

    def __init__(self, outcome: str) -> None:
        super().__init__(
            f"the call is over: {outcome}; its result is sealed to the session that asked, and opens only with that "
            "session's key"
        )
        self.outcome = outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownCall:
    """A waiting call. `parameters_sha256` was computed here; `requests` come from the log.

    `parameters` are those that its tool would get: as the caller signed them, but for values at the JSON pointers
    `masked`, for which fixed tokens stand. No other difference is shown.
    """

    request: str
    resource: str
    principal: str
    parameters: dict[str, Any]
    parameters_sha256: bytes
    requests: tuple[dict[str, Any], ...]
    masked: tuple[str, ...] = ()

    def request_for(self, key: str) -> dict[str, Any]:
        """Return the request under a key. Raises ParametersChangedError if there is none."""
        for one in self.requests:
            if one.get("key") == key:
                return one
        raise ParametersChangedError(
            f"the call has no request under {key!r} any more; nothing was signed: list the requests again"
        )


def pending_requests(connection: Connection) -> list[dict[str, Any]]:
    """Return every request that this principal may answer. Raises as `Connection.query`."""
    return rows_in(connection.pages("approvals"), "requests")


def own_attestations(connection: Connection) -> list[dict[str, Any]]:
    """Return every attestation of this session. Raises as `Connection.query`."""
    return rows_in(connection.pages("attestations"), "attestations")


def show_call(connection: Connection, request: str) -> ShownCall:
    """Return a waiting call with its exact parameters, their digest computed here.

    Raises:
        RefusedError: APPROVAL_UNKNOWN, this principal is not asked about the call.
        CallOverError: the call was this principal's own, and does not wait any more.
        MalformedIdError: `request` is not the digest of a call's event.
        CallForgedError: the call is not shown as its caller signed it.
        ParametersChangedError: the request names another digest than that of the parameters.
        MalformedReplyError, NoAnswerError, PublishError, RegistryError.
    """
    digest_of(request, "the digest of a call's event, as the list of approvals has it")
    reply = connection.query("invocation", request)
    if reply.get("event") == request and isinstance(reply.get("outcome"), str):
        raise CallOverError(str(reply["outcome"]))
    requests = reply.get("requests")
    if reply.get("event") != request or not isinstance(requests, list):
        raise MalformedReplyError("the log's reply is about another call")
    body, principal = _called(connection, reply, request)
    read, masked = _read(body, reply.get("masked"))
    for one in requests:
        if not isinstance(one, dict) or one.get("request") != request or one.get("resource") != body.resource:
            raise MalformedReplyError("the log's reply is about several calls")
        if one.get("parameters_sha256") != read.sha256.hex():
            raise ParametersChangedError(
                "the request names another digest than that of the call's parameters; nothing was signed"
            )
    return ShownCall(
        request=request,
        resource=body.resource,
        principal=principal,
        parameters=read.value,
        parameters_sha256=read.sha256,
        requests=tuple(requests),
        masked=masked,
    )


def _read(body: InvocationRequested, told: object) -> tuple[Parameters, tuple[str, ...]]:
    """Return the parameters that are asked about, and the places of masked values. Raises CallForgedError."""
    try:
        signed = parse_parameters(body.parameters)
        if told is None:
            return signed, ()
        masked = parse_parameters(str(told))
        places = check_blanked(signed.value, masked.value)
    except MalformedParametersError as exc:
        raise CallForgedError("the parameters of the call are malformed") from exc
    except NotMaskedError as exc:
        raise CallForgedError(f"the parameters are not those that the caller signed: {exc}") from exc
    return masked, tuple(reduce(pointer_to, steps, "") for steps in places)


def _called(connection: Connection, reply: Mapping[str, Any], request: str) -> tuple[InvocationRequested, str]:
    """Return the call that its caller signed, and the caller. Raises CallForgedError, RegistryError."""
    log = LogIdentity(connection.tenant.tenant, connection.genesis)
    try:
        event, leaf, _ = signed_in_session(reply, "call", log, registry=connection.registry)
    except VaultForgedError as exc:
        raise CallForgedError(exc.why) from exc
    if leaf.hex() != request or not isinstance(event.body, InvocationRequested):
        raise CallForgedError("the caller has signed another event")
    return event.body, event.header.principal_id


def check_listed(listed: Mapping[str, Any], shown: ShownCall) -> str:
    """Return the key of a listed request. Raises ParametersChangedError if the shown call is another one."""
    key = str(listed.get("key"))
    asked = shown.request_for(key)
    for name in ("resource", "for_user", "for_agent", "parameters_sha256"):
        if name in listed and listed[name] != asked.get(name):
            raise ParametersChangedError(f"{name} differs from the list; nothing was signed: list the requests again")
    if listed.get("parameters_sha256") != shown.parameters_sha256.hex():
        raise ParametersChangedError("the parameters differ from the list; nothing was signed: list the requests again")
    return key


def answer_request(
    connection: Connection,
    listed: Mapping[str, Any],
    reason: str,
    says: type[AttestationApproved | AttestationDenied],
) -> Answer:
    """Approve or deny a request as it was listed, once the call was fetched and its parameters are the listed ones.

    Raises:
        RefusedError; and as `show_call` and `check_listed`, with nothing signed.
    """
    shown = show_call(connection, str(listed.get("request")))
    key = check_listed(listed, shown)
    request = bytes.fromhex(shown.request)
    return connection.ask(says(request=request, key=key, parameters_sha256=shown.parameters_sha256, reason=reason))
