"""Texts that reached a session, remembered for rules on where a value came from (docs/mapl.md 14, `not_from`).

Nothing is remembered unless a policy in force has such a rule, and then only results of the resources that one of its
patterns meets. Each such call leaves one row for its own session and for those of the callers around it:

    the call is opened       a row without fingerprints: any value may be in the result, which a stream gives early
    the tool reports         the row has the fingerprints of the result, and names the report
    no report comes          the row stays as it is
    the fold cannot see it   a body, a stream, a withheld result, one above the bounds: the row stays as it is

Rows without fingerprints stand for any value (taint). Bounds make rows lose their fingerprints, never the other way
round: of a session's results beyond 32 KB the oldest lose theirs, and several rows of one resource become one. Where
the tables have no room, one row stands for all sessions of a program. A denied call changes nothing: heard texts stay.

A program passes heard texts on: to its callers with its results, and to a session into which it sets an attestation.
It hears the words of the calls that it executes for sessions that heard something, also while it has no session: then
for the sessions that it opens later. A shared scope of the vault passes the taint of its writers on to its readers
(`shared_scopes.py`).

Rows outlive a session that closes. A person's last until its session would have run out; a program's a day at least.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import islice
from typing import NamedTuple

from processors.calls import work as buckets
from processors.calls.call import Call
from processors.calls.fingerprints import NOT_SEEN, Printed, print_of, print_of_value, texts_in
from processors.calls.judge import current_policies
from processors.calls.origins import ANY_RESOURCE, handed, meets_resource, owner_of, program, speaker, with_handed
from processors.calls.prompts import values_at
from processors.effects import Effects
from processors.identity.delegations import Chain
from processors.identity.logins import lasts_until
from processors.intake.identify import Signer
from processors.policy.errors import WorkExceededError
from processors.policy.evaluation import Work, new_work, to_pay
from processors.proof import jcs
from processors.proof.jcs import JSONValue
from processors.state.tables import Tables
from schemas import limits
from schemas.events.workflow import AttestationSet
from schemas.records import ResultReported
from schemas.rows import CallRow, HeardRow, SessionRow
from schemas.words import Outcome, Role

_KID_BYTES = 32
_TAINT = b"taint"  # in keys, which it makes longer than those of other rows
_TAINTS_MAX = 16  # resources of one session that are told apart
_RESOURCES_MAX = 64  # and of one owner


def is_source(tables: Tables, resource: str) -> bool:
    """Return whether a rule in force asks for values from a resource."""
    return has_sources(tables) and any(meets_resource(source, resource) for source in current_policies(tables).sources)


def has_sources(tables: Tables) -> bool:
    """Return whether a rule in force asks where values come from."""
    return bool(tables.policies.rows) and bool(current_policies(tables).sources)


# ---- calls


def counts_as(tables: Tables, call: CallRow) -> str | None:
    """Return the resource that a call's result is heard from, None where no rule asks for it.

    A program that has heard something may pass it on with any result: then that counts as heard from there.
    """
    passed = _came_from(tables, _own(tables, call.tool))
    if not is_source(tables, call.resource):
        return passed
    return call.resource if passed in (None, call.resource) else ANY_RESOURCE


def is_own(tables: Tables, call: CallRow) -> bool:
    """Return whether the program, or the person, that executes a call has heard nothing that its result could hold."""
    owners = _own(tables, call.tool)
    if call.target is not None:
        owners = (*owners, owner_of(call.target, tables.sessions.get(call.target)))
    return _came_from(tables, owners) is None


def opened(tables: Tables, call: CallRow) -> None:
    """Note an allowed call of which the result may hold any value, for every session that will hear it."""
    resource = counts_as(tables, call)
    if resource is None:
        return
    heard = HeardText(resource, call.event, reported=False, printed=NOT_SEEN, payer=call.payer)
    for session_id in _hearers(call):
        hear(tables, session_id, _of_call(call), heard)


def reported(tables: Tables, effects: Effects, call: CallRow, body: ResultReported, *, passed_on: bool) -> None:
    """Remember the words of a result. Its tool pays. `passed_on` says that the caller gets it.

    Requires a report with strict JSON as its body.
    """
    before = [tables.heard.get(one + _of_call(call)) for one in _hearers(call)]
    resource = counts_as(tables, call)
    if resource is None:  # the rule has gone since the call was opened
        resource = next((row.resource for row in before if row is not None), None)
    if resource is None:
        return
    budget = new_work()
    try:
        printed = _printed(tables, body, budget) if passed_on else NOT_SEEN
    except WorkExceededError:
        printed = NOT_SEEN
    finally:
        buckets.note(effects, call.tool, to_pay(budget))
    heard = HeardText(resource, effects.claim.leaf, reported=True, printed=printed, payer=call.payer)
    for session_id in _hearers(call):
        hear(tables, session_id, _of_call(call), heard)


def _of_call(call: CallRow) -> bytes:
    return sha256(b"result" + call.event).digest()


def _printed(tables: Tables, body: ResultReported, budget: Work) -> Printed:
    if body.bodies or body.stream is not None or body.outcome == Outcome.UNKNOWN:
        return NOT_SEEN
    values: list[JSONValue] = [jcs.parse_strict(body.body.encode(), nodes_max=limits.RESULT_EVENT_BYTES_MAX)]
    for one in body.attestations:
        values += (one.key, jcs.parse_strict(one.value.encode()))
    return print_of_value(tables.genesis, values, budget)


def handed_on(tables: Tables, asked: Call, chain: Chain, call: CallRow, parameters: JSONValue, work: Work) -> None:
    """Let a program hear the words of a call that it executes, if its caller heard something. The caller pays.

    The program can then not use them in its own name, without the call as the cause.
    """
    if not tables.heard.rows:
        return
    own = with_handed(program(call.tool))
    resource = _came_from(
        tables, [one for one in behind(tables, asked.session_id, asked.session, chain) if one not in own]
    )
    if resource is None:
        return
    # Without a session it calls nothing, and its results are its own; but it may open one at any time.
    owner = program(call.tool) if tables.sessions.of(call.tool) else handed(call.tool)
    printed = NOT_SEEN if asked.body.bodies else print_of_value(tables.genesis, parameters, work)
    session_id = call.target or sha256(owner.encode()).digest()
    heard = HeardText(resource, asked.leaf, reported=False, printed=printed, payer=call.payer)
    hear(tables, session_id, sha256(b"parameters" + asked.leaf).digest(), heard, owner=owner)


def attested(tables: Tables, signer: Signer, body: AttestationSet, leaf: bytes) -> None:
    """Let a session hear the words of an attestation by a program that heard something."""
    resource = _came_from(tables, _own(tables, signer.principal_id)) if tables.heard.rows else None
    if resource is None or signer.role == Role.BRIDGE:
        return
    printed = print_of_value(tables.genesis, [body.key, jcs.parse_strict(body.value.encode())], new_work())
    paid_by = tables.sessions.rows[body.session].payer
    hear(tables, body.session, leaf, HeardText(resource, leaf, reported=False, printed=printed, payer=paid_by))


def _hearers(call: CallRow) -> Sequence[bytes]:
    """Return the sessions that hear a call's result: its own, and those of the callers around it."""
    return tuple(dict.fromkeys((call.session_id, *(caller[:_KID_BYTES] for caller in call.callers))))


def _own(tables: Tables, principal_id: str) -> Sequence[str]:
    """Return the owners of texts that a program passes on: its own, and those handed to it once it has a session."""
    owner = program(principal_id)
    return with_handed(owner) if tables.sessions.of(principal_id) else (owner,)


def _came_from(tables: Tables, owners: Iterable[str]) -> str | None:
    """Return the resource that some owners heard something from, ANY_RESOURCE for several, None for none."""
    found: set[str] = set()
    for owner in owners:
        found.update(islice(tables.heard_index.resources(owner), 2))
        if len(found) > 1:
            return ANY_RESOURCE
    return found.pop() if found else None


def behind(tables: Tables, session_id: bytes, session: SessionRow, chain: Chain) -> Sequence[str]:
    """Return the owners of the texts that came to the sessions behind a call."""
    owners = [owner_of(session_id, session)]
    owners += (owner_of(one, tables.sessions.get(one)) for one in map(bytes.fromhex, chain.sessions))
    return tuple(one for owner in dict.fromkeys(owners) for one in with_handed(owner))


class HeardText(NamedTuple):
    """A text that reaches sessions: the resource that it counts as from, and the leaf that brought it."""

    resource: str
    source: bytes
    reported: bool
    printed: Printed
    payer: str


def hear(tables: Tables, session_id: bytes, by: bytes, heard: HeardText, owner: str = "") -> None:
    """Put the row of a text, in the place of the one that was noted before it came."""
    session, before = tables.sessions.get(session_id), tables.heard.get(session_id + by)
    owner = owner or (owner_of(session_id, session) if before is None else before.owner)
    row = HeardRow(
        owner=owner,
        session_id=session_id,
        resource=_told_apart(tables, owner, heard.resource),
        source=heard.source,
        reported=heard.reported,
        complete=heard.printed.complete,
        fingerprints=heard.printed.fingerprints,
        at=tables.now,
        until=kept_until(tables, session) if before is None else before.until,
        payer=heard.payer,
    )
    if row.complete and not row.fingerprints:  # no words: nothing that a value could come from
        if before is not None:
            tables.heard.delete(session_id + by)
        return
    mark = tables.savepoint()
    tables.heard.put(session_id + by, row)
    if tables.heard.full_for(row) is not None:
        tables.undo_to(mark)
        if before is not None:
            tables.heard.delete(session_id + by)
        taint(tables, row)
    _trim(tables, session_id)


# ---- a person's words


def is_person(session: SessionRow) -> bool:
    """Return whether a person signs in a session: not a program, and no program that a login names as its actor."""
    return session.role == Role.USER and not session.actors


def spoken(tables: Tables, asked: Call, parameters: dict[str, JSONValue], work: Work) -> tuple[str, ...]:
    """Return the texts of the prompts that a person signs with a call, none where they are too long together.

    Requires prompts that were checked. Raises WorkExceededError.
    """
    if not asked.body.prompts or not is_person(asked.session) or not has_sources(tables):
        return ()
    values: list[object] = []
    for prompt in asked.body.prompts:
        values += values_at(parameters, prompt.path, work)
    return tuple(texts_in(values) or ())  # type: ignore[arg-type]


def said(tables: Tables, asked: Call, texts: Sequence[str], paid_by: str) -> None:
    """Remember the words of a person in an allowed call, as far as there is room: words that are forgotten help none.

    They serve later calls of the session, of programs that it delegates to, and of the tools that it calls.
    """
    if not texts:
        return
    printed = print_of(tables.genesis, texts, new_work())
    if not printed.complete:
        return
    row = HeardRow(
        owner=speaker(asked.session_id.hex()),
        session_id=asked.session_id,
        resource=ANY_RESOURCE,
        source=asked.leaf,
        reported=False,
        complete=True,
        fingerprints=printed.fingerprints,
        at=tables.now,
        until=lasts_until(asked.session),
        payer=paid_by,
    )
    mark = tables.savepoint()
    tables.heard.put(asked.session_id + sha256(b"said" + asked.leaf).digest(), row)
    if tables.heard.full_for(row) is not None:
        tables.undo_to(mark)
        return
    own = (key for key in tables.heard.of(asked.session_id) if _is_said(tables.heard.rows[key]))
    for key in _beyond(tables, _ordered(tables, own)):
        tables.heard.delete(key)


def _is_said(row: HeardRow) -> bool:
    return row.owner == speaker(row.session_id.hex())


# ---- bounds


def kept_until(tables: Tables, session: SessionRow | None) -> int:
    """Return until when texts that a session hears are remembered (log time, ms)."""
    least = tables.now + limits.HEARD_KEPT_MS
    if session is None:
        return least
    # A program can open another session; the bridge alone opens those of persons.
    return lasts_until(session) if session.role == Role.USER else max(least, lasts_until(session))


def _trim(tables: Tables, session_id: bytes) -> None:
    """Keep the bounds of a session: results leave whole, the oldest first, and taint takes their place."""
    rows = tables.heard.rows
    results = [key for key in tables.heard.of(session_id) if not _is_said(rows[key]) and not _is_taint(key)]
    if len(results) <= 1:
        return
    seen = _ordered(tables, (key for key in results if rows[key].complete))
    unseen = _ordered(tables, (key for key in results if not rows[key].complete))
    for key in (*_beyond(tables, seen), *unseen[: max(0, len(unseen) - limits.HEARD_UNSEEN_MAX)]):
        row = rows[key]
        tables.heard.delete(key)
        taint(tables, row)


def _beyond(tables: Tables, keys: Sequence[bytes]) -> Sequence[bytes]:
    """Return the oldest of some rows, without which the others keep the bound of a session."""
    excess = sum(len(tables.heard.rows[key].fingerprints) for key in keys) - limits.HEARD_SESSION_BYTES_MAX
    at = 0
    while excess > 0 or len(keys) - at > limits.HEARD_RESULTS_MAX:
        excess -= len(tables.heard.rows[keys[at]].fingerprints)
        at += 1
    return keys[:at]


def taint(tables: Tables, row: HeardRow) -> HeardRow | None:
    """Put a row for any value from a resource, and return it; None if it was there.

    Beyond 16 resources one row stands for all. Where there is no room, one row stands for all sessions of the owner,
    which has a place in any case. So has a row without a session: its caller looks for room.
    """
    head = row.session_id or sha256(row.owner.encode()).digest()
    resource = _told_apart(tables, row.owner, row.resource)
    key = _taint_key(head, resource)
    known = tables.heard.get(key)
    if known is None and resource != ANY_RESOURCE:
        group = row.session_id or ("heard by", row.owner)
        if sum(map(_is_taint, tables.heard.of(group))) >= _TAINTS_MAX:
            resource, key = ANY_RESOURCE, _taint_key(head, ANY_RESOURCE)
            known = tables.heard.get(key)
    until = row.until if known is None else max(row.until, known.until)
    if known is not None and until == known.until:
        return None
    tainted = replace(row if known is None else known, resource=resource, complete=False, fingerprints=b"", until=until)
    mark, shared = tables.savepoint(), sha256(row.owner.encode()).digest()
    tables.heard.put(key, tainted)
    if row.session_id in (b"", shared) or tables.heard.full_for(tainted) is None:
        return tainted
    tables.undo_to(mark)
    return taint(tables, replace(row, session_id=shared))


def _told_apart(tables: Tables, owner: str, resource: str) -> str:
    """Return a resource, or ANY_RESOURCE if its owner has heard from many others: each rule looks at all of them."""
    known = tables.heard_index.resources(owner)
    return resource if resource in known or len(known) < _RESOURCES_MAX else ANY_RESOURCE


def _taint_key(head: bytes, resource: str) -> bytes:
    return head + _TAINT + sha256(resource.encode()).digest()


def _is_taint(key: bytes) -> bool:
    return len(key) != 2 * _KID_BYTES


def _ordered(tables: Tables, keys: Iterable[bytes]) -> list[bytes]:
    """Return the keys of rows, the oldest row first."""
    return sorted(keys, key=lambda key: (tables.heard.rows[key].at, key))
