"""`decide`, `judge` and `conj` (docs/mapl.md 12)."""

import dataclasses

from tests.reference.mapl.attesting import attested_keys
from tests.reference.mapl.chains import BrokenPolicyError
from tests.reference.mapl.conditions import Scope, spellings_of
from tests.reference.mapl.delegation import use_refusal
from tests.reference.mapl.jsontext import MalformedParametersError, read_parameters
from tests.reference.mapl.judging import STAGES, Conjunction, Subject, cells, charges, masks, rate
from tests.reference.mapl.names import (
    InvalidResourceError,
    app_of,
    domain_and_rest,
    last_segment,
    name_of,
    split_foreign,
)
from tests.reference.mapl.resolution import (
    InvalidAttributeError,
    Resolved,
    missing_layer,
    once,
    principal_of,
    resolve,
)
from tests.reference.mapl.text import jcs_order
from tests.reference.mapl.work import Work, WorkExceededError
from tests.reference.mapl.world import Call, Finding, Past, Verdict, World

RANK = {"denied": 0, "pending": 1, "allowed": 2}
Result = tuple[Verdict, Conjunction | None]  # the conjunction of the chosen branch


def evaluate(world: World, call: Call) -> Verdict:
    """Decide one call. Everything it needs is in its two arguments; nothing is changed."""
    try:
        principals = {name: principal_of(world.subjects[name]) for name in call.subjects}
    except InvalidAttributeError:
        return denied("ATTRIBUTE_INVALID")  # no such session can exist
    try:
        resource = name_of(call.resource, call.operation)
    except InvalidResourceError:
        return denied("RESOURCE_INVALID")
    try:
        params = read_parameters(call.params)
    except MalformedParametersError:
        return denied("MALFORMED_PARAMETERS")
    broken_hop = use_refusal(call, [principals[name]["type"] for name in call.subjects], resource, params)
    if broken_hop is not None:
        return denied(broken_hop.reason, at=f"/delegation/{broken_hop.hop}")
    return decide(world, call, resource, params, principals)


def decide(
    world: World, call: Call, resource: str, params: dict[str, object], principals: dict[str, dict[str, object]]
) -> Verdict:
    work = Work()
    try:
        resolved = {name: resolve(world, call, principals[name], resource) for name in call.subjects}
    except BrokenPolicyError as error:
        return denied("POLICY_BROKEN", policy=error.policy_id)
    results = []
    try:
        for name in call.subjects:
            scope = scope_of(world, call, resource, params, principals[name], work)
            subject = Subject(str(principals[name].get("user", name)), principals[name], scope)
            results.append(judge(world, call, resource, subject, resolved[name]))
    except WorkExceededError:
        return denied("LIMIT_EXCEEDED")
    lowest = min(results, key=lambda result: (RANK[result[0].outcome], result[0].stage))  # then subject order
    return with_writes(call, lowest[0], [conj for _, conj in results if conj is not None])


def judge(world: World, call: Call, resource: str, subject: Subject, resolved: Resolved) -> Result:
    """The best branch: highest outcome, furthest stage, smallest id."""
    if missing_layer(world, call, subject.principal):
        return denied("LAYER_MISSING"), None
    results = []
    for branch_id, applied in [(b.branch_id, b.applied) for b in resolved.branches] or [("", [])]:
        together = once([*resolved.common, *applied])
        conj = Conjunction(world, call, resource, subject, together, resolved.role_denials)
        verdict = conjunction(conj)
        results.append((-RANK[verdict.outcome], -verdict.stage, jcs_order(branch_id), verdict, conj))
    *_, verdict, conj = min(results, key=lambda result: result[:3])
    return verdict, conj


def conjunction(conj: Conjunction) -> Verdict:
    """The stages in order; the first failed check of the first stage that has one decides."""
    for stage, check in STAGES:
        finding = next(check(conj), None)
        if finding is not None:
            verdict = Verdict("denied", finding.reason, stage, finding)
            if finding.reason == "RATE_LIMITED":
                list(rate(conj))  # the longest wait of all buckets
                verdict.retry_after_ms = conj.retry_after_ms
            return verdict
    if conj.outstanding:
        first = conj.outstanding[0]
        return Verdict("pending", "APPROVAL_PENDING", 12, Finding("APPROVAL_PENDING", "", first.pointer))
    return Verdict("allowed", "ALLOWED", 12)


def with_writes(call: Call, verdict: Verdict, conjunctions: list[Conjunction]) -> Verdict:
    """Allowed: consume, count, charge. Pending: charge, open requests. Denied: nothing. Resumed: no charge."""
    if verdict.outcome == "denied":
        return verdict
    verdict.masks = sorted({path for conj in conjunctions for path in masks(conj)})
    if not call.resumed:
        tats: dict[tuple[str, str], int] = {}
        for conj in conjunctions:
            for key, tat in charges(conj).items():
                tats[key] = max(tat, tats.get(key, 0))
        verdict.writes += [("charge", *key, tat) for key, tat in sorted(tats.items())]
    if verdict.outcome == "allowed":
        used = {record for conj in conjunctions for record in conj.used}
        verdict.writes += [("use", record) for record in sorted(used)]
        counted = {key: (window, amount) for conj in conjunctions for key, window, amount in cells(conj)}
        verdict.writes += [("cell", key, *value) for key, value in sorted(counted.items())]
    elif not call.resumed:
        outstanding = [r for conj in conjunctions for r in conj.outstanding]
        deadline = call.now + 1000 * min(r.meta.timeout for r in outstanding)
        deadline = min(deadline, call.session_expires if call.session_expires is not None else deadline)
        asked = {r.key: r.is_one_time for r in outstanding}
        verdict.writes += [("request", key, one_time, deadline) for key, one_time in sorted(asked.items())]
    return verdict


def scope_of(
    world: World, call: Call, resource: str, params: dict[str, object], principal: dict[str, object], work: Work
) -> Scope:
    """Section 7: what conditions can name. Members that have no value are absent."""
    tenant, _ = split_foreign(resource)
    context: dict[str, object] = {
        "session_id": call.session,
        "app": principal.get("agent"),
        "source_agent": call.source_agent,
        "is_delegated": bool(call.delegation),
        "delegation_depth": len(call.delegation),
    }
    tool: dict[str, object] = {
        "id": resource,
        "domain": domain_and_rest(resource)[0],
        "app": app_of(resource),
        "op": last_segment(resource),
        "tenant": tenant[1:-1] if tenant else world.tenant,
    }
    attested = attested_keys(world.attestations, call.now)
    return Scope(params, principal, context, tool, attested, call.now, work, spellings_of(resource))


def denied(reason: str, *, policy: str = "", at: str = "") -> Verdict:
    """A denial before any stage."""
    return Verdict("denied", reason, 0, Finding(reason, policy, at))


def applied(world: World, call: Call, verdict: Verdict) -> World:
    """The world after the decision: its writes, and for an allowed call a line of history."""
    buckets, cells_after = dict(world.buckets), dict(world.cells)
    records = [dataclasses.replace(record) for record in world.attestations]
    history = list(world.history)
    opened = 0
    for write in verdict.writes:
        match write:
            case ("charge", str(principal), str(bucket), int(tat)):
                buckets[principal, bucket] = tat
            case ("use", int(index)):
                records[index].uses += 1
            case ("cell", tuple(key), int(window), amount):
                cells_after[key] = (window, amount)  # type: ignore[assignment]
            case ("request", *_):
                opened += 1
            case _:
                raise AssertionError(write)
    if verdict.outcome == "allowed":
        resource = name_of(call.resource, call.operation)
        history.append(Past(call.session, resource, read_parameters(call.params), call.now))
    return dataclasses.replace(
        world,
        attestations=records,
        buckets=buckets,
        cells=cells_after,
        history=history,
        open_requests=world.open_requests + opened,
    )
