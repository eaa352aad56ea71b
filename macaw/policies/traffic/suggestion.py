"""Policies made from the recorded calls of a log: each names one principal, its resources, and bounds of parameters.

A suggestion grants no more than its calls had, and it restricts its principal to them: a call of another resource, with
another parameter, or outside the seen values is denied by it. It lifts no other document, since all that apply must
agree. An id that is in force already is left alone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from macaw.policies.history import History, Recorded, decisions_of, fold_recorded
from macaw.policies.traffic.seen_values import SeenParameters, UnnameableError
from processors.calls.judge import current_policies
from processors.calls.parameters import MalformedParametersError, parse_parameters
from processors.identity.attributes import subject_of
from processors.policy.documents import PolicyDocument, parse_policy
from processors.policy.errors import PolicyError
from processors.policy.patterns import resource_name, restricts
from processors.proof.signing import VerifiedHeads
from processors.state.tables import Tables
from schemas import codec
from schemas.records import Decision, Event, InvocationRequested
from schemas.words import Outcome, Role


class CallEvent(NamedTuple):
    """The event of a call, kept until its decision."""

    body: InvocationRequested
    within: bool


@dataclass(slots=True)
class Suggested:
    """The documents by id, with the calls that they let pass, and the reasons for which others are left out.

    `open_places` are parameters of which only the name is bounded, as (policy id, resource, place).
    """

    documents: dict[str, PolicyDocument] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    open_places: list[tuple[str, str, str]] = field(default_factory=list)


_Seen = dict[str, dict[str, SeenParameters]]  # by policy id and resource


def suggest(history: History, *, since: int = 0, replacing: bool = False) -> Suggested:
    """Return policies that let the executed calls of a log pass, those that were only observed among them.

    Calls count that were decided at `since` (log time, ms) or later. With `replacing` also ids in force are suggested.

    Raises:
        HistoryError: the log cannot be folded from its beginning.
    """
    found, seen, tables = Suggested(), dict[str, dict[str, SeenParameters]](), history.tables()
    heads, waiting = VerifiedHeads(), dict[bytes, CallEvent]()
    for recorded in history.records:
        asked = _asked(recorded)
        for leaf, (decision, _) in decisions_of(fold_recorded(tables, recorded, heads)).items():
            call = waiting.pop(leaf, None) or asked
            if call is None:
                continue
            if decision.outcome == Outcome.PENDING:
                waiting[leaf] = call
            elif decision.outcome == Outcome.ALLOWED and decision.decided_at >= since:
                _note(found, seen, tables, decision, call)
    in_force = frozenset() if replacing else frozenset(current_policies(tables).by_id)
    for policy_id, resources in sorted(seen.items()):
        _write(found, policy_id, resources, in_force)
    return found


def _asked(recorded: Recorded) -> CallEvent | None:
    try:
        event = codec.decode_as(Event, recorded.received.value or b"")
    except codec.SchemaError:
        return None
    if not isinstance(event.body, InvocationRequested):
        return None
    return CallEvent(event.body, event.header.causation_id is not None)


def _note(found: Suggested, seen: _Seen, tables: Tables, decision: Decision, call: CallEvent) -> None:
    reason = _not_covered(decision, call)
    policy_id = None if reason else _policy_id(tables, decision)
    if policy_id is None:
        found.left_out[reason or "its principal has no policy of its own"] += 1
        return
    resource = resource_name(decision.resource).text
    resources = seen.setdefault(policy_id, {})
    # Spellings that restrictions take for one resource have their bounds together.
    name = next((one for one in resources if restricts(one, resource_name(resource))), resource)
    parameters = resources.setdefault(name, SeenParameters())
    resources.setdefault(resource, parameters)
    try:
        parameters.see(parse_parameters(call.body.parameters).value)
    except (UnnameableError, MalformedParametersError) as exc:
        found.left_out[str(exc)] += 1
        if not parameters.calls:
            del resources[resource]
        return
    found.calls[policy_id] += 1


def _not_covered(decision: Decision, call: CallEvent) -> str:
    """Return why a call is left out, "" for one that counts."""
    if call.within:
        return "it was made within another call"
    if decision.subjects:
        return "it was delegated, or its login has actors: each of them needs a policy"
    return "a text travelled beside it" if call.body.bodies else ""


def _policy_id(tables: Tables, decision: Decision) -> str | None:
    """Return the id under which policies look up the principal of a call alone."""
    session = tables.sessions.rows.get(decision.session_id)
    if session is None:
        return None
    subject = subject_of(session.attributes, session.role, session.principal_id)
    if session.role == Role.USER:
        return f"user:{subject.user}" if subject.user else None
    return f"agent:{subject.agent}" if subject.agent else f"service:{subject.service}" if subject.service else None


def _write(found: Suggested, policy_id: str, resources: Mapping[str, SeenParameters], in_force: frozenset[str]) -> None:
    calls = found.calls[policy_id]
    if policy_id in in_force:
        found.left_out[f"{policy_id} is in force: change it by hand"] += calls
        del found.calls[policy_id]
        return
    text, open_places = _document(policy_id, {name: one for name, one in resources.items() if one.calls})
    try:
        found.documents[policy_id] = parse_policy(json.dumps(text, ensure_ascii=False).encode())
    except PolicyError as exc:
        found.left_out[f"{policy_id} would be larger than a policy may be: {exc.code}"] += calls
        del found.calls[policy_id]
        return
    found.open_places += open_places


def _document(policy_id: str, resources: Mapping[str, SeenParameters]) -> tuple[dict[str, Any], list[Any]]:
    allowed: dict[str, list[str]] = {}
    bounds: dict[str, Any] = {}
    open_places = []
    for name, parameters in _once(resources):
        allowed[name] = parameters.paths()
        specs, without = parameters.specs()
        open_places += [(policy_id, name, path) for path in without]
        if specs:
            bounds[name] = specs
    constraints = {"allowed_parameters": allowed} | ({"parameters": bounds} if bounds else {})
    return {
        "policy_id": policy_id,
        "description": "Made from recorded calls. Read it before you publish it: its values stand in it.",
        "resources": sorted(resources),
        "constraints": constraints,
    }, open_places


def _once(resources: Mapping[str, SeenParameters]) -> Iterator[tuple[str, SeenParameters]]:
    done: list[SeenParameters] = []
    for name, parameters in sorted(resources.items()):
        if all(parameters is not one for one in done):
            done.append(parameters)
            yield name, parameters
