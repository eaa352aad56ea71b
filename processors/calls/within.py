"""Calls within calls: a tool that calls others while it executes a call, and the callers around it.

The inner call names the event of the outer one as its cause (`causation_id`). Everybody behind the outer call must then
be allowed the inner one as well: an inner call has at most the rights of all its callers together. An agent that leaves
the cause out acts in its own name alone, and the log shows that; a principal that is registered `only_within_calls`
cannot.

A cause that does not hold denies the call, since without it the call could do more than its caller may.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from processors.identity import delegations, offers
from processors.identity.delegations import Chain
from processors.identity.sessions import lives
from processors.policy.decide import with_names_in_nfc
from processors.policy.delegation import chain_fault
from processors.policy.errors import BodyUnseenError
from processors.policy.evaluation import Work
from processors.policy.patterns import resource_name
from processors.proof.jcs import JSONValue
from processors.refusal import Refusal
from processors.state.tables import Tables
from schemas import limits
from schemas.reasons import Reason
from schemas.records import Event, InvocationRequested
from schemas.rows import CallRow, SessionRow
from schemas.words import Role

_KID_BYTES = 32


class Asked(Protocol):
    """A call by a session, as far as the callers around it go."""

    @property
    def event(self) -> Event:
        """The signed event."""
        ...

    @property
    def body(self) -> InvocationRequested:
        """Its body."""
        ...

    @property
    def session_id(self) -> bytes:
        """The session that asks."""
        ...

    @property
    def session(self) -> SessionRow:
        """Its row."""
        ...

    @property
    def principal_id(self) -> str:
        """Its principal."""
        ...


def callers_of(tables: Tables, asked: Asked) -> tuple[bytes, ...]:
    """Return the callers around a call, the outermost first, as `CallRow.callers` has them; () for an outermost call.

    Raises:
        Refusal: PARENT_CALL, the cause is not a call that this session executes now; ONLY_WITHIN_CALLS;
            LIMIT_EXCEEDED, too many calls around each other.
    """
    cause = asked.event.header.causation_id
    if cause is None:
        if _is_bound_to_calls(tables, asked):
            raise Refusal(Reason.ONLY_WITHIN_CALLS)
        return ()
    outer = next((row for row in _open(tables, cause) if _executes(asked, row)), None)
    if outer is None:
        raise Refusal(Reason.PARENT_CALL)
    if len(outer.callers) >= limits.CALLERS_MAX:
        raise Refusal(Reason.LIMIT_EXCEEDED, f"at most {limits.CALLERS_MAX} calls stand around each other")
    return outer.callers


def chains_of(tables: Tables, callers: tuple[bytes, ...]) -> tuple[Chain, ...]:
    """Return the chain behind each caller around a call, the caller's own session among its sessions.

    Raises:
        Refusal: PARENT_CALL, the session of a caller has ended; DELEGATION_BROKEN.
    """
    found = []
    for caller in dict.fromkeys(callers):
        session_id, delegation = caller[:_KID_BYTES], caller[_KID_BYTES:]
        session = tables.sessions.get(session_id)
        if session is None or not lives(tables, session_id):
            raise Refusal(Reason.PARENT_CALL, "the session of a caller around this call has ended")
        chain = delegations.chain_of(tables, session, delegation or None)
        found.append(chain._replace(sessions=(session_id.hex(), *chain.sessions)))
    return tuple(found)


def joined(chain: Chain, outer: tuple[Chain, ...]) -> Chain:
    """Return a call's chain with the subjects of all callers around it: each of them must be allowed the call too.

    No hop leads to them, as to the actors of a login. Their sessions count as those of delegators do: what one of them
    has tainted stays forbidden when a tool does it for its caller.
    """
    subjects = chain.subjects
    for one in outer:
        subjects += tuple(subject for subject in one.subjects if subject not in subjects)
    sessions = tuple(dict.fromkeys((*chain.sessions, *(session for one in outer for session in one.sessions))))
    actors = chain.actors + len(subjects) - len(chain.subjects)
    spoken = tuple(dict.fromkeys((*chain.spoken, *(text for one in outer for text in one.spoken))))
    return chain._replace(subjects=subjects, actors=actors, sessions=sessions, spoken=spoken)


def check_scopes(
    tables: Tables, outer: tuple[Chain, ...], asked: Asked, parameters: Mapping[str, JSONValue], work: Work
) -> None:
    """Check that the delegation to each caller covers the call within its own. `parameters` are as rules see them.

    Otherwise a delegate could exceed its delegation by way of a tool.

    Raises:
        Refusal: DELEGATION_REVOKED, _EXPIRED, _BROKEN, _DEPTH, _SCOPE or _CONDITION; BODY_UNSEEN for a condition on a
            text that travels beside the call.
        WorkExceededError: the conditions cost more than the call may spend.
    """
    name = resource_name(asked.body.resource)
    for chain in outer:
        if not chain.hops:
            continue
        linked = chain.subjects[: len(chain.subjects) - chain.actors]
        named = with_names_in_nfc(parameters)
        try:
            fault = chain_fault(chain.hops, linked, name, named, tables.now, work, bound=chain.bound)
        except BodyUnseenError as exc:
            raise Refusal(Reason.BODY_UNSEEN, "of a caller around this call") from exc
        if fault is not None:
            raise Refusal(fault[0], "of a caller around this call")


def is_observed(tables: Tables, asked: Asked) -> bool:
    """Return whether the call around a call is observed, or stands itself within one that is."""
    cause = asked.event.header.causation_id
    return cause is not None and any(row.observed for row in _open(tables, cause) if _executes(asked, row))


def own_caller(asked: Asked) -> bytes:
    """Return the entry of a call itself among the callers of the calls within it."""
    return asked.session_id + (asked.event.header.on_behalf_of or b"")


def _open(tables: Tables, cause: bytes) -> list[CallRow]:
    rows = (tables.calls.rows[decision] for decision in tables.calls.of(cause))
    return [row for row in rows if not offers.is_over(tables, row)]


def _executes(asked: Asked, outer: CallRow) -> bool:
    """Whether the session that asks executes an open call: it is its target, or one of the registered tool's."""
    if outer.target is not None:
        return outer.target == asked.session_id
    return asked.session.role == Role.TOOL and outer.tool == asked.principal_id


def _is_bound_to_calls(tables: Tables, asked: Asked) -> bool:
    opener = tables.keys.get(asked.session.opened_by)
    return opener is not None and opener.only_within_calls and opener.principal_id == asked.principal_id
