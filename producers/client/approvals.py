"""Approvals from a person's side: the open requests, the exact parameters, and a yes or no that binds to those.

Nothing is signed before the call was fetched as its caller signed it: resource, parameters and caller are read from
there, and the digest is computed here. So an approval is for the call that was shown, whether or not a list or a
monitor lied. For which principal a delegated call is made, and who may approve it and has, is known from the log alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple, TypedDict, Unpack

from processors.calls.masked_form import NotMaskedError, check_blanked
from processors.calls.parameters import MalformedParametersError, Parameters, parse_parameters
from processors.policy.json_types import pointer_to
from producers.client.author_proof import LogIdentity, VaultForgedError, signed_in_session
from producers.client.inputs import digest_of, milliseconds
from producers.kafka.connection import Connection, rows_in
from producers.kafka.outcomes import CallError, MalformedReplyError, NoAnswerError
from schemas import limits
from schemas.errors import EvidenceError, InputError, OutcomeError, UnavailableError
from schemas.events.workflow import AttestationApproved, AttestationDenied
from schemas.records import InvocationRequested
from schemas.words import Outcome

# The members of a listed request that a person has read: an answer is given only while they are the same.
TERMS = ("resource", "for_user", "for_agent", "parameters_sha256", "criteria", "quorum", "one_time", "scopes")
ONCE_ALONE: Mapping[str, Any] = {"once": True}  # the scopes of a request whose approval serves no later call
REQUESTS_AT_ONCE_MAX = 50  # that one question answers: a person reads the parameters of each


class ParametersChangedError(CallError):
    """The call has other parameters than the list said; nothing was signed."""


class ScopeError(InputError):
    """An approval was to have a scope that its request does not offer, or too many were to be answered at once."""


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

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object, with the digest in hex."""
        return {
            "request": self.request,
            "resource": self.resource,
            "principal": self.principal,
            "parameters": self.parameters,
            "parameters_sha256": self.parameters_sha256.hex(),
            "masked": list(self.masked),
            "requests": list(self.requests),
        }

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
    for name in TERMS:
        if name in listed and listed[name] != asked.get(name):
            raise ParametersChangedError(f"{name} differs from the list; nothing was signed: list the requests again")
    if listed.get("parameters_sha256") != shown.parameters_sha256.hex():
        raise ParametersChangedError("the parameters differ from the list; nothing was signed: list the requests again")
    return key


class Narrow(TypedDict, total=False):
    """How much narrower than its policies an approval is: this call only, or for so many seconds, or so many calls."""

    once: bool
    for_seconds: float | None
    uses: int | None


class Answered(NamedTuple):
    """The outcome of one answer among several: `problem` is empty if the log has accepted it."""

    request: str
    key: str
    problem: str
    reason: str

    @property
    def is_on_log(self) -> bool:
        """Whether the log has accepted the answer."""
        return not self.problem


def approve_request(
    connection: Connection, listed: Mapping[str, Any], reason: str, said_by: str | None = None, **narrow: Unpack[Narrow]
) -> bool:
    """Approve a request as it was listed, once the call was fetched and its parameters are the listed ones.

    Raises:
        ScopeError: the request offers no such scope; nothing was signed.
        RefusedError; and as `show_call` and `check_listed`, with nothing signed.
    """
    for_ms = _scope(listed, **narrow)
    shown, key = _fetched(connection, listed)
    body = AttestationApproved(
        request=bytes.fromhex(shown.request),
        key=key,
        parameters_sha256=shown.parameters_sha256,
        reason=reason,
        # Signed as it was told: a monitor that hides that the policies let it last gains nothing.
        once=narrow.get("once", False) or listed.get("scopes") == ONCE_ALONE,
        for_ms=for_ms,
        uses=narrow.get("uses"),
        said_by=said_by,
    )
    return connection.ask(body).result.outcome == Outcome.ACCEPTED


def deny_request(connection: Connection, listed: Mapping[str, Any], reason: str, said_by: str | None = None) -> bool:
    """Deny a request as it was listed. Raises as `approve_request`."""
    shown, key = _fetched(connection, listed)
    request, digest = bytes.fromhex(shown.request), shown.parameters_sha256
    body = AttestationDenied(request=request, key=key, parameters_sha256=digest, reason=reason, said_by=said_by)
    return connection.ask(body).result.outcome == Outcome.ACCEPTED


def answer_each(requests: Sequence[Mapping[str, Any]], answer: Callable[[Mapping[str, Any]], object]) -> list[Answered]:
    """Give one answer to each of some listed requests, each with its own event, and return the outcomes in order.

    A request that fails does not keep the others from being answered. Where the log does not answer, those behind it
    are not signed: their outcome says so.

    Raises:
        ScopeError: there are more requests than one question may hold, or one stands twice; nothing was signed.
    """
    named = [(str(one.get("request")), str(one.get("key"))) for one in requests]
    if len(named) > REQUESTS_AT_ONCE_MAX:
        raise ScopeError(f"got {len(named)} requests, want at most {REQUESTS_AT_ONCE_MAX}; nothing was signed")
    if len(set(named)) < len(named):
        raise ScopeError("a request stands twice among them; nothing was signed")
    found: list[Answered] = []
    silent = False
    for one, (request, key) in zip(requests, named, strict=True):
        if silent:
            found.append(Answered(request, key, "not signed: the log did not answer the one before", ""))
            continue
        try:
            answer(one)
        except (OutcomeError, UnavailableError, EvidenceError, InputError) as exc:
            silent = isinstance(exc, (NoAnswerError, UnavailableError))
            found.append(Answered(request, key, str(exc), getattr(exc, "reason", "")))
        else:
            found.append(Answered(request, key, "", ""))
    return found


def _scope(
    listed: Mapping[str, Any], *, once: bool = False, for_seconds: float | None = None, uses: int | None = None
) -> int | None:
    """Return the chosen time in ms. Raises ScopeError for a scope that the listed request does not offer."""
    if once and (for_seconds is not None or uses is not None):
        raise ScopeError("once is for this call only: leave the time and the number of calls out")
    chosen = {"once": once or None, "for_seconds": for_seconds, "uses": uses}
    offered = listed.get("scopes")
    for name, value in chosen.items():
        if value is None:
            continue
        most = offered.get(name) if isinstance(offered, Mapping) else None
        if most is None:
            names = ", ".join(offered) if isinstance(offered, Mapping) and offered else "none"
            raise ScopeError(f"the request does not offer {name}; its scopes: {names}; nothing was signed")
        if name != "once" and not 0 < value <= most:
            raise ScopeError(f"{name} is at most {most} here: an approval is never wider than its policies")
    if for_seconds is None:
        return None
    return milliseconds(for_seconds, at_most=limits.ATTESTATION_TTL_MS_MAX, what="an approval's life")


def _fetched(connection: Connection, listed: Mapping[str, Any]) -> tuple[ShownCall, str]:
    """Return the call of a listed request, fetched anew, and the request's key. Raises as `check_listed`."""
    shown = show_call(connection, str(listed.get("request")))
    return shown, check_listed(listed, shown)
