"""Questions of a session about the state of the log. The answer is sealed to the asker, and nothing else changes.

The asker's work bucket pays for a long answer (`processors.calls.work`), so that no asker can ask without end.

    attestations        null, an attestation key, or `next`  the records of the asker's own session
    approvals           null, or `next`                      requests that the asker may answer
    invocation          the hex leaf of a call's event       the call as it was signed, for its requester and for those
                                                             who may approve it; for an hour after its end its outcome,
                                                             for the requester alone
    delegations         null, or `next`                      those by the asker, and those to the asker
    effective_policy    a resource name                      ids and digests of the policies that apply to the asker
    callable            a list of resource names             those of which some call of the asker could be allowed
    agents, agent, presence                                  instances that offer tools (`processors.context.discovery`)

A sign of life, `presence`, is the one question that changes a row. An administrator asks other questions
(`processors.context.overview`), and none of these.

`next` is the `next` of the page before; the last page has null. If the row that it names has left meanwhile, or it was
comes from another asker, the question is refused and the asker begins again with null. The question `invocation` is the
only way for an approver to see the exact parameters of a call.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Mapping, Sequence

from processors.calls import answers, catalogues, enforcement, work
from processors.calls.answerers import is_once_only
from processors.calls.judge import current_policies, is_callable
from processors.calls.narrowing import lasting_for, scopes_of
from processors.calls.requests import approved_by, asked_by, criteria_asked, quorum_of
from processors.context import discovery, overview
from processors.context.vault import as_told
from processors.effects import Effects
from processors.identity.attributes import subject_of
from processors.identity.delegations import actors_of
from processors.intake.identify import Signer
from processors.policy.errors import ResourceInvalidError, WorkExceededError
from processors.policy.evaluation import Work, new_work, to_pay
from processors.policy.lifted import Lifted
from processors.policy.patterns import resource_name
from processors.proof import jcs
from processors.proof.jcs import JSONValue
from processors.refusal import Refusal
from processors.state.engine import DETECTING
from processors.state.groups import OPEN, OVER
from processors.state.tables import Tables
from schemas import limits
from schemas.events.workflow import StateQueried
from schemas.reasons import Reason
from schemas.records import Event
from schemas.rows import AttestationRow, DelegationRow, RequestRow, SessionRow
from schemas.words import Outcome, Role, Status

Questions = Mapping[str, Callable[[Tables, Signer, JSONValue, Work], JSONValue]]

_SIGN_OF_LIFE = "presence"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_WANT_NEXT = "the argument is not null or the `next` of the page before; begin again with null"


def answer(tables: Tables, effects: Effects, signer: Signer, event: Event, body: StateQueried) -> None:
    """Answer a question. Raises Refusal QUERY_INVALID, LIMIT_EXCEEDED, or the reason of the question's own rule."""
    if body.what != _SIGN_OF_LIFE:  # it costs nothing, and callers may have emptied the bucket of their tool
        work.check_not_empty(tables, signer.principal_id)
    questions = _questions_of(tables, signer)
    ask = questions.get(body.what)
    if ask is None:
        want = f"`what` is not a question of this key; its questions are {', '.join(questions)}"
        raise Refusal(Reason.QUERY_INVALID, want)
    try:
        argument = jcs.parse_strict(body.argument.encode("utf-8", "surrogatepass"))
    except jcs.MalformedJSONError as exc:
        raise Refusal(Reason.QUERY_INVALID, f"the argument is not strict JSON: {exc.cause}") from exc
    budget = new_work()
    try:
        told = ask(tables, signer, argument, budget)
    finally:
        work.note(effects, signer.principal_id, to_pay(budget))
    payload = effects.reply_payload(event.header.salt, told)
    work.note_answer(effects, signer.principal_id, told, payload)
    effects.reply(Outcome.ACCEPTED, payload=payload)


def _attestations(tables: Tables, signer: Signer, argument: JSONValue, _: Work) -> JSONValue:
    key, after = _attestations_asked(argument)
    group = signer.kid if key is None else (signer.kid, key)
    page, last = _page(after, limits.QUERY_ROWS_MAX, tables.attestations.of(group))
    following: JSONValue = None if last is None else {"key": key, "after": last.hex()}
    return {"attestations": [_attestation(one, tables.attestations.rows[one]) for one in page], "next": following}


def _attestations_asked(argument: JSONValue) -> tuple[str | None, bytes | None]:
    """Return (key, after). Raises Refusal QUERY_INVALID."""
    match argument:
        case None | str():
            return argument, None
        case {"key": None | str() as key, "after": str() as after, **more} if not more and _DIGEST.fullmatch(after):
            return key, bytes.fromhex(after)
    raise Refusal(Reason.QUERY_INVALID, "the argument is not null, an attestation key or a `next` of this question")


def _attestation(record: bytes, row: AttestationRow) -> JSONValue:
    return {
        "id": record.hex(),
        "key": row.key,
        "setter": row.setter,
        "value": jcs.parse_strict(row.value.encode()),
        "set_at": row.set_at,
        "expires_at": row.expires_at,
        "uses": row.uses,
        "max_uses": 1 if row.one_time else row.max_uses,
        "revoked": row.revoked,
    }


def _place(argument: JSONValue) -> bytes | None:
    """Return the key after which a page begins, None for the first page. Raises Refusal QUERY_INVALID."""
    if argument is None:
        return None
    if not (isinstance(argument, str) and _DIGEST.fullmatch(argument)):
        raise Refusal(Reason.QUERY_INVALID, _WANT_NEXT)
    return bytes.fromhex(argument)


def _page(after: bytes | None, size: int, *lists: Sequence[bytes]) -> tuple[list[bytes], bytes | None]:
    """Return the keys of one page over ordered lists, and the last of them if more follow.

    Raises:
        Refusal: QUERY_INVALID, no list has the key `after`.
    """
    places = [0 if after is None else bisect.bisect_right(keys, after) for keys in lists]
    found = [place > 0 and keys[place - 1] == after for keys, place in zip(lists, places, strict=True)]
    if after is not None and not any(found):
        # Ids of records can be guessed, so the detail does not say whether the key belongs to another asker.
        raise Refusal(Reason.QUERY_INVALID, _WANT_NEXT)
    slices = [keys[at : at + size + 1] for keys, at in zip(lists, places, strict=True)]
    keys = sorted(key for some in slices for key in some)
    page = keys[:size]
    return page, page[-1] if len(keys) > len(page) else None


def _approvals(tables: Tables, signer: Signer, argument: JSONValue, budget: Work) -> JSONValue:
    """Return a page of the requests that the asker may answer; the rows looked at are bounded, not those found."""
    after = _place(argument)
    subject, _ = answers.approver_of(tables, signer)
    keys: Sequence[bytes] = tables.requests.of(OPEN)
    # Any key will do, because a page may end at a request that the asker may not see.
    at = 0 if after is None else bisect.bisect_right(keys, after)
    looked_at = keys[at : at + limits.QUERY_ROWS_MAX]
    told: list[JSONValue] = []
    own = answers.OwnPolicies(tables, signer, subject, budget)
    for place, key in enumerate(looked_at):
        row = tables.requests.rows[key]
        if tables.now >= row.open_until:
            continue
        try:
            answers.check_approver(tables, row, signer, subject, own)
        except Refusal:
            if budget[0] < 0 and place:  # the next page goes on here, with work of its own
                looked_at = looked_at[:place]
                break
            continue  # this asker may not answer it, so may not see it
        told.append(_told(tables, row, signer))
    rest = at + len(looked_at) < len(keys)
    return {"requests": told, "next": looked_at[-1].hex() if rest else None}


def _told(tables: Tables, row: RequestRow, signer: Signer) -> dict[str, JSONValue]:
    scopes: dict[str, JSONValue] = {}
    if tables.engine.number >= DETECTING:
        scopes["scopes"] = scopes_of(row, once_only=is_once_only(tables, signer)).told()
    return {
        "request": row.event.hex(),
        "key": row.key,
        "resource": row.resource,
        "for_user": row.root,
        "for_agent": row.acting,
        "criteria": list(criteria_asked(row)),
        "quorum": quorum_of(row),
        "approved_by": list(approved_by(row.approvals)),
        "one_time": not lasting_for(row),
        "asked_at": row.asked_at,
        "open_until": row.open_until,
        "parameters_sha256": row.parameters_sha256.hex(),
        **scopes,
    }


def _invocation(tables: Tables, signer: Signer, argument: JSONValue, budget: Work) -> JSONValue:
    """Return a waiting call whole, to its requester or to an approver of one of its requests."""
    if not (isinstance(argument, str) and _DIGEST.fullmatch(argument)):
        raise Refusal(Reason.QUERY_INVALID, "the argument is not the leaf of a call's event, 64 hex digits")
    leaf = bytes.fromhex(argument)
    over = [tables.requests.rows[key] for key in tables.requests.of((OVER, leaf))]
    if any(row.waits and _is_asker(signer, row) for row in over):
        return {"event": argument, "resource": over[0].resource, "outcome": _ended(over)}
    rows = _requests_of(tables, leaf)
    asked = next((row for row in rows if row.call.event), None)
    if asked is None or not _may_see(tables, signer, rows, budget):
        raise Refusal(Reason.APPROVAL_UNKNOWN)
    # As it was signed, so that approvers judge the caller's own bytes.
    return {
        "event": argument,
        "resource": asked.resource,
        "call": as_told(asked.call),
        "opened": as_told(asked.opened) if asked.opened is not None else None,
        # As its tool would get them, where policies mask values: that is what an answer binds.
        **({"masked": asked.masked} if asked.masked is not None else {}),
        "requests": [_told(tables, row, signer) for row in rows],
    }


def _ended(over: Sequence[RequestRow]) -> str:
    """Return how a call that waited has ended: a request that failed counts before one that was approved."""
    ways = {row.closed for row in over}
    worse = (Status.DENIED, Status.TIMEOUT, Status.CANCELLED)
    return str(next((way for way in worse if way in ways), over[0].closed))


def _requests_of(tables: Tables, leaf: bytes) -> list[RequestRow]:
    if tables.pending.get(leaf) is not None:
        return [row for row in asked_by(tables, leaf) if not row.closed]
    # A call that does not wait may still have asked for grants; their requests name it. The comparison of leaves is for
    # an asker that sends a requester's id instead: its requests are of many calls, which this asker may not see.
    rows = (tables.requests.rows[key] for key in tables.requests.of(leaf))
    return [row for row in rows if row.event == leaf and not row.closed]


def _is_asker(signer: Signer, row: RequestRow) -> bool:
    """Return True if a call is the signer's own; through a login with actors only the session's own calls are."""
    if signer.session is not None and signer.session.actors:
        return row.session_id == signer.kid
    return signer.principal_id in {row.root, row.acting}


def _may_see(tables: Tables, signer: Signer, rows: Sequence[RequestRow], budget: Work) -> bool:
    if any(_is_asker(signer, row) for row in rows):
        return True
    subject, _ = answers.approver_of(tables, signer)
    own = answers.OwnPolicies(tables, signer, subject, budget)
    for row in rows:
        try:
            answers.check_approver(tables, row, signer, subject, own)
        except Refusal:
            continue
        return True
    return False


def _delegations(tables: Tables, signer: Signer, argument: JSONValue, _: Work) -> JSONValue:
    """Return a page of both lists together, in order of ids. No principal delegates to itself: a row is in one list."""
    me, rows = signer.principal_id, tables.delegations.rows
    lists = (tables.delegations.of(("by", me)), tables.delegations.of(("to", me)))
    page, last = _page(_place(argument), limits.QUERY_DELEGATIONS_MAX, *lists)
    return {
        "granted": [_delegation(leaf, rows[leaf]) for leaf in page if rows[leaf].delegator == me],
        "received": [_delegation(leaf, rows[leaf]) for leaf in page if rows[leaf].delegate == me],
        "next": None if last is None else last.hex(),
    }


def _delegation(leaf: bytes, row: DelegationRow) -> JSONValue:
    return {
        "delegation": leaf.hex(),
        "parent": row.parent.hex() if row.parent is not None else None,
        "delegator": row.delegator,
        "delegate": row.delegate,
        "scope": jcs.parse_strict(row.scope.encode()),
        "purpose": row.purpose,
        "expires_at": row.expires_at,
        "revoked": row.revoked,
    }


def _effective_policy(tables: Tables, signer: Signer, argument: JSONValue, _: Work) -> JSONValue:
    session = signer.session
    if not isinstance(argument, str) or session is None:
        raise Refusal(Reason.QUERY_INVALID, "the argument is not the name of a resource, or no session asks")
    try:
        name = resource_name(argument)
    except ResourceInvalidError as exc:
        raise Refusal(Reason.RESOURCE_INVALID) from exc
    index = current_policies(tables)
    subjects = (subject_of(session.attributes, session.role, session.principal_id), *actors_of(tables, session))
    applied = (one for subject in subjects for one in index.found(subject, name.text))
    found = dict.fromkeys((*applied, *index.spelt(name)))
    ids = {entry.digest: policy_id for policy_id, entry in index.by_id.items()}
    told: list[JSONValue] = [{"policy_id": ids[one.digest], "sha256": one.digest.hex()} for one in found]
    return {"resource": argument, "policies": told}


def _callable(tables: Tables, signer: Signer, argument: JSONValue, budget: Work) -> JSONValue:
    session = signer.session
    if session is None or not isinstance(argument, list) or len(argument) > limits.QUERY_NAMES_MAX:
        want = f"the argument is not a list of at most {limits.QUERY_NAMES_MAX} names of resources, or no session asks"
        raise Refusal(Reason.QUERY_INVALID, want)
    if not all(isinstance(one, str) for one in argument):
        raise Refusal(Reason.QUERY_INVALID, "the argument holds something else than names of resources")
    try:
        found = [one for one in map(str, argument) if _is_callable(tables, signer.kid, session, one, budget)]
    except WorkExceededError as exc:
        raise Refusal(Reason.LIMIT_EXCEEDED, "the names need too much work in one question: ask for fewer") from exc
    return {"callable": [*found]}


def _is_callable(tables: Tables, session_id: bytes, session: SessionRow, name: str, budget: Work) -> bool:
    """Return whether some call of a name could be allowed, with the exceptions that stand. Raises WorkExceededError."""
    try:
        resource = resource_name(name)
        enforcement.check_not_frozen(tables, (session.principal_id,), name)
    except (ResourceInvalidError, Refusal):
        return False
    standing = enforcement.current(tables)
    if standing.observes(resource) or standing.glass_for(resource, session.principal_id, tables.now) is not None:
        return True  # policies of the organisation may still deny the call
    return is_callable(tables, session_id, session, name, budget, Lifted(policies=standing.policies))


def _users(tables: Tables, _: Signer, argument: JSONValue, __: Work) -> JSONValue:
    """Return a page of the persons that the log knows, in order of their names."""
    if not (argument is None or (isinstance(argument, str) and len(argument) <= limits.PROVIDED_NAME_CHARS_MAX)):
        raise Refusal(Reason.QUERY_INVALID, _WANT_NEXT)
    after = None if argument is None else argument.encode("utf-8", "surrogatepass")
    return overview.users_told(tables, *_page(after, limits.QUERY_USERS_MAX, *overview.groups_of_users(tables)))


def _questions_of(tables: Tables, signer: Signer) -> Questions:
    if signer.role != Role.ADMIN:
        return _QUESTIONS if tables.engine.number >= DETECTING else _QUESTIONS_FIRST
    return _OF_ADMINS if tables.engine.number >= DETECTING else _OF_ADMINS_FIRST


def _catalogues(tables: Tables, _: Signer, argument: JSONValue, __: Work) -> JSONValue:
    if argument is not None:
        raise Refusal(Reason.QUERY_INVALID, "the argument is not null")
    return catalogues.told(tables)


def _enforcement(tables: Tables, _: Signer, argument: JSONValue, __: Work) -> JSONValue:
    if argument is not None:
        raise Refusal(Reason.QUERY_INVALID, "the argument is not null")
    return enforcement.told(tables)


_QUESTIONS_FIRST: Questions = {  # in engine 1
    "attestations": _attestations,
    "approvals": _approvals,
    "invocation": _invocation,
    "delegations": _delegations,
    "effective_policy": _effective_policy,
    "agents": discovery.agents,
    "agent": discovery.agent,
    _SIGN_OF_LIFE: discovery.presence,
}
_QUESTIONS: Questions = {**_QUESTIONS_FIRST, "callable": _callable}
_OF_ADMINS_FIRST: Questions = {  # in engine 1
    "limits": lambda tables, _, argument, __: overview.limits_told(tables, argument),
    "users": _users,
}
_OF_ADMINS: Questions = {**_OF_ADMINS_FIRST, "catalogues": _catalogues, "enforcement": _enforcement}
