"""Questions about policies in force or in files: those that apply to a subject, and the reasons of a decision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from macaw.policies.changes import Edit, smallest_change
from macaw.policies.history import Found, History, HistoryError, RecordedCall, at_call, fold_all
from macaw.policies.json_places import sentence_of
from processors.calls import bodies, verifying, within
from processors.calls.executor import executor_of
from processors.calls.judge import call_of, current_policies
from processors.calls.parameters import MalformedParametersError, parse_parameters
from processors.calls.standing import Attested
from processors.identity.attributes import subject_as_written, subject_of
from processors.identity.delegations import chain_of
from processors.policy.decide import decide
from processors.policy.errors import ResourceInvalidError
from processors.policy.evaluation import new_work
from processors.policy.index import PolicyIndex
from processors.policy.insight.explain import explain
from processors.policy.names import PERSON_PREFIX
from processors.policy.resolve import Subject
from processors.policy.verdict import Verdict
from processors.proof import jcs
from processors.refusal import Refusal
from processors.state.tables import Tables
from schemas.errors import InputError
from schemas.rows import SessionRow
from schemas.words import Role

ROLE_DEFAULT = Role.SESSION


class QuestionError(InputError):
    """The question has no answer; the message says why."""


@dataclass(frozen=True, slots=True)
class Explained:
    """The reasons of a decision: every check, the deciding document, and edits that would have allowed the call."""

    told: dict[str, Any]
    verdict: Verdict
    deciding: str
    edits: list[Edit]


def explain_call(history: History, wanted: str, *, offset: int | None = None) -> Found[Explained]:
    """Return the explanation of one decision on a log.

    Raises:
        AmbiguousIdError: `wanted` stands for several events; `offset` says which is meant.
        HistoryError: the log holds no such decision, or not the log before it.
    """
    return at_call(history, wanted, _explained, offset=offset)


def _explained(tables: Tables, asked: RecordedCall) -> Explained:
    session, body = asked.session, asked.body
    index, work = current_policies(tables), new_work()
    try:
        chain = chain_of(tables, session, asked.event.header.on_behalf_of)
        outer = within.chains_of(tables, within.callers_of(tables, asked))
        chain = within.joined(chain, outer)
        executor = executor_of(tables, body.resource, body.target)
        parsed = parse_parameters(body.parameters)
        parameters = bodies.judged(body.bodies, parsed, executor, work)
        if outer:
            within.check_scopes(tables, outer, asked, parameters, work)
        _, _, parameters = verifying.arguments(tables, asked, parsed, parameters, executor, work)
    except MalformedParametersError as exc:
        raise HistoryError(
            f"no policy was asked: the parameters of the call are not a strict JSON object ({exc.cause})"
        ) from exc
    except Refusal as exc:
        raise HistoryError(f"no policy was asked: {exc.reason}, {exc.detail}") from exc
    except ResourceInvalidError as exc:
        raise HistoryError(f"no policy was asked: {exc}") from exc
    attested = Attested(tables, asked.session_id, chain, asked.leaf, outer)
    call = call_of(tables, session, asked.session_id, body.intents, chain=chain, attested=attested)
    if executor is not None:
        call = call._replace(owner=executor.owner_beside(body.resource), maskable=executor.maskable_paths)
    verdict = decide(index, chain.subjects, body.resource, parameters, call)
    policy_ids = {entry.digest: policy_id for policy_id, entry in index.by_id.items()}
    return Explained(
        told=explain(index, chain.subjects, body.resource, parameters, call),
        verdict=verdict,
        deciding=policy_ids.get(verdict.deciding, "a document of the call" if verdict.deciding else ""),
        # For one subject only: in a chain each member refuses in turn, so no single edit is the answer.
        edits=[] if len(chain.subjects) > 1 else smallest_change(index, chain.root, body.resource, parameters, call),
    )


# ---- subjects and their policies


@dataclass(frozen=True, slots=True)
class AskedAbout:
    """The subject of a question and its policies; `as_of` is the last audit entry, None for files."""

    who: str
    subject: Subject
    index: PolicyIndex
    as_of: int | None


def standing_of(history: History, wanted: str) -> AskedAbout:
    """Return a session as the log has it now, by its id or by the name of its principal.

    Raises:
        QuestionError: no such session is open.
    """
    tables = fold_all(history)
    session_id, row = session_in(tables, wanted)
    return AskedAbout(
        who=f"{row.principal_id}, session {session_id.hex()[:8]}",
        subject=subject_of(row.attributes, row.role, row.principal_id),
        index=current_policies(tables),
        as_of=tables.next_index - 1,
    )


def session_in(tables: Tables, wanted: str) -> tuple[bytes, SessionRow]:
    """Return the session with an id that begins with `wanted`, or the principal's newest. Raises QuestionError."""
    rows = tables.sessions.rows
    by_id = [(key, row) for key, row in rows.items() if len(wanted) >= 8 and key.hex().startswith(wanted.lower())]
    if len(by_id) > 1:
        ids = ", ".join(sorted(key.hex() for key, _ in by_id))
        raise QuestionError(f"{wanted!r} stands for {len(by_id)} sessions: give the whole id of one: {ids}")
    names = (wanted, f"{PERSON_PREFIX}{wanted}")
    found = by_id or [(key, row) for key, row in rows.items() if row.principal_id in names]
    if not found:
        raise QuestionError(f"there is no open session {wanted!r}: `macaw sessions` lists the open ones")
    return max(found, key=lambda one: one[1].opened_at)


def subject_from(text: str) -> Subject:
    """Return the subject that attributes describe, as a session would have them. Raises QuestionError.

    `agent` and `service` name a program, as they would be registered.
    """
    data = text.encode("utf-8", "surrogatepass")
    try:
        values = jcs.parse_strict(data)
    except jcs.MalformedJSONError as exc:
        raise QuestionError(f"the text of the attributes {sentence_of(data, exc)}") from exc
    if not isinstance(values, dict):
        raise QuestionError('the attributes are not a JSON object, like {"roles": ["analyst"]}')
    programs = [(role, values.pop(role)) for role in (Role.AGENT, Role.SERVICE) if role in values]
    if len(programs) > 1 or not all(isinstance(name, str) for _, name in programs):
        raise QuestionError("the attributes name a program wrongly: give `agent` or `service`, not both, as a text")
    role, principal = programs[0] if programs else (ROLE_DEFAULT, f"{PERSON_PREFIX}{values.get('user', '')}")
    try:
        return subject_as_written(values, role, str(principal))
    except Refusal as exc:
        raise QuestionError(f"the attributes do not make a subject: {exc.detail}") from exc
