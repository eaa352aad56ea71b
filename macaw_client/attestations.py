"""Requests for an approval, in the shape that programs of approvers know; an answer binds to the values shown."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from macaw_client.errors import PermissionDenied, told_as_ours
from processors.proof import jcs
from producers.client import CallOverError, Client, ParametersChangedError, RefusedError
from schemas.errors import InputError
from schemas.words import Status

_OURS = ("key", "resource", "for_user", "for_agent", "parameters_sha256")


class NotListedError(InputError):
    """The given dict is not one of `list_attestations`; nothing was signed."""


def requests_of(client: Client, status: str) -> list[dict[str, Any]]:
    """Return the requests that this principal may answer, or with `active` the attestations of this session.

    `value` holds the parameters as the tool would get them: as their caller signed them, or with values masked. A call
    that is over meanwhile is left out.
    """
    with told_as_ours():
        listed = client.list_attestations(status)
        if status != Status.PENDING:
            return [_own(one) for one in listed]
        return [shown for one in listed if (shown := _shown(client, one)) is not None]


def _shown(client: Client, row: Mapping[str, Any]) -> dict[str, Any] | None:
    try:
        call = client.show_call(str(row.get("request")))
    except (CallOverError, RefusedError):
        return None
    criteria = [str(one) for one in row.get("criteria") or ()]
    return {
        **row,
        "request_id": row.get("request"),
        "id": row.get("request"),
        "approval_criteria": " OR ".join(criteria),
        "value": call.parameters,
        "caller": call.principal,
        "status": str(Status.PENDING),
    }


def _own(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **row,
        "request_id": row.get("id"),
        "for_agent": None,
        "approval_criteria": None,
        "one_time": row.get("max_uses") == 1,
        "status": str(Status.ACTIVE),
    }


def answer(client: Client, attestation: Mapping[str, Any], reason: str, *, approves: bool) -> bool:
    """Approve or deny a request as it was listed.

    Raises:
        NotListedError: it is not one of `list_attestations`, or its value is not the one that was listed.
        ParametersChangedError: the call has other parameters now; nothing was signed.
        PermissionDenied: the log does not let this principal answer.
    """
    if not isinstance(attestation, Mapping):
        raise NotListedError(f"give a dict of list_attestations(), got {type(attestation).__name__}")
    request = attestation.get("request") or attestation.get("request_id") or attestation.get("id")
    lacking = [name for name in ("key", "parameters_sha256", "value") if name not in attestation]
    if not isinstance(request, str) or lacking:
        raise NotListedError(f"{(lacking or ['request_id'])[0]} is missing: give the whole dict of list_attestations()")
    _check_value(attestation)
    listed = {"request": request, **{name: attestation[name] for name in _OURS if name in attestation}}
    says = client.approve_attestation if approves else client.deny_attestation
    try:
        with told_as_ours():
            return says(listed, reason=reason)
    except CallOverError as exc:
        raise PermissionDenied(f"the attestation was not answered: {exc}", reason="APPROVAL_CLOSED") from exc


def _check_value(attestation: Mapping[str, Any]) -> None:
    """Check that the value that was shown is the one that is approved. Raises NotListedError."""
    try:
        digest = hashlib.sha256(jcs.canonical(attestation["value"])).hexdigest()
    except (TypeError, ValueError):
        digest = ""
    if digest != attestation["parameters_sha256"]:
        raise NotListedError("`value` differs from the one that was listed; nothing was signed: list them again")


__all__ = ["NotListedError", "ParametersChangedError", "answer", "requests_of"]
