"""The rights of a registered approver with limits: the calls that it answers, and the persons that it speaks for.

The limits are those of the key that signs (`processors.identity.approver_limits`). At the approval a call is judged as
people are asked about it: by the masked form where there is one. `standing` judges the same limits again when the call
is decided, and of a later call that an approval would serve.
"""

from __future__ import annotations

from processors.calls.call import body_of
from processors.calls.enforcement import is_frozen
from processors.calls.parameters import parse_parameters
from processors.calls.standing import SAME_NAME_MAX, names_of, names_of_call, names_passed_on
from processors.identity.approver_limits import answers_key, may_speak_for, scope_of
from processors.intake.identify import Signer
from processors.policy import names
from processors.policy.errors import WorkExceededError
from processors.policy.evaluation import Work, spend
from processors.policy.limits import SCOPE_UNITS, TEXT_BYTE_UNITS
from processors.policy.patterns import resource_name
from processors.policy.resolve import Subject
from processors.proof.jcs import JSONValue
from processors.refusal import Refusal
from processors.state.groups import person_known_as
from processors.state.tables import Tables
from schemas import limits
from schemas.events.attributes import ApproverLimits
from schemas.reasons import Reason
from schemas.rows import RequestRow


def limits_of(tables: Tables, signer: Signer) -> ApproverLimits | None:
    """Return the limits of an approver's key, None for an approver without limits, or a person."""
    return None if signer.session is not None else tables.keys.rows[signer.kid].approver


def is_once_only(tables: Tables, signer: Signer) -> bool:
    """Return whether an approval by this signer serves only the call that it is given to."""
    most = limits_of(tables, signer)
    return most is not None and most.once_only


def check_limits(tables: Tables, row: RequestRow, signer: Signer, work: Work) -> None:
    """Raise Refusal APPROVER_LIMITED unless a request is within the limits of its answerer."""
    most = limits_of(tables, signer)
    if most is None:
        return
    if not answers_key(most, row.key):
        raise Refusal(Reason.APPROVER_LIMITED, "the approver's `keys` do not include the attestation key")
    scope = scope_of(most)
    if scope is None:
        return
    name = resource_name(row.resource)
    try:
        spend(work, SCOPE_UNITS)
        if not scope.covers(name):
            raise Refusal(Reason.APPROVER_LIMITED, "the approver's `scope` does not cover the resource")
        if scope.has_conditions and not scope.permits(_asked(row, work), tables.now, work):
            raise Refusal(Reason.APPROVER_LIMITED, "a condition of the approver's `scope` does not hold")
    except WorkExceededError as exc:
        raise Refusal(Reason.LIMIT_EXCEEDED, "to judge the approver's limits takes too much work") from exc


def _asked(row: RequestRow, work: Work) -> dict[str, JSONValue]:
    """Return the parameters that people are asked about. Raises WorkExceededError."""
    spend(work, TEXT_BYTE_UNITS * len(row.call.event if row.masked is None else row.masked.encode()))
    return parse_parameters(body_of(row.call).parameters if row.masked is None else row.masked).value


def check_not_frozen(tables: Tables, persons: frozenset[str]) -> None:
    """Raise Refusal FROZEN if a person that an approver speaks for is frozen, under one of these names."""
    if tables.enforcement.rows and any(is_frozen(tables, f"{names.PERSON_PREFIX}{name}") for name in sorted(persons)):
        raise Refusal(Reason.FROZEN, "the person in `said_by` is frozen")


def names_behind(
    tables: Tables, row: RequestRow, signer: Signer, subject: Subject, said_by: str | None
) -> frozenset[str]:
    """Return every name of the person behind an answer: its signer, or the one that an approver speaks for.

    Raises:
        Refusal: APPROVER_SAID_BY for a name that is no person's, or that the signer may not speak for;
            APPROVER_IS_REQUESTER for a person that the call is made for, under any known name.
    """
    if said_by is None:
        return names_of(subject)
    if not said_by.startswith(names.PERSON_PREFIX) or said_by == names.PERSON_PREFIX:
        raise Refusal(
            Reason.APPROVER_SAID_BY, f"`said_by` is the name of a person and begins with {names.PERSON_PREFIX}"
        )
    try:
        names.check_printable(said_by, limits.PROVIDED_NAME_CHARS_MAX)
    except Refusal as exc:
        raise Refusal(Reason.APPROVER_SAID_BY, f"`said_by` is not a name: {exc.detail}") from exc
    if not may_speak_for(limits_of(tables, signer), said_by):
        raise Refusal(Reason.APPROVER_SAID_BY, "the registration of the approver does not let it speak for this person")
    if len(tables.persons.of(person_known_as(names.known_as(said_by)))) > SAME_NAME_MAX:
        raise Refusal(Reason.APPROVER_SAID_BY, f"more than {SAME_NAME_MAX} persons have this name: name the principal")
    told = names_passed_on(tables, said_by)
    if not told.isdisjoint(names_of_call(tables, row)):
        raise Refusal(Reason.APPROVER_IS_REQUESTER, "`said_by` is a person that the call is made for")
    return told
