"""The documents and failed checks that an explanation must hold (docs/mapl.md 13), beyond the first failure."""

from tests.reference.mapl.deciding import conjunction, evaluate, scope_of
from tests.reference.mapl.jsontext import read_parameters
from tests.reference.mapl.judging import STAGES, Conjunction, Subject
from tests.reference.mapl.names import name_of
from tests.reference.mapl.resolution import Applied, once, principal_of, resolve
from tests.reference.mapl.work import Work
from tests.reference.mapl.world import Call, World


def explain(world: World, call: Call) -> dict[str, object]:
    """Requires a call that is judged at all: a valid name, parameters, sessions, delegation and policies."""
    resource = name_of(call.resource, call.operation)
    verdict = evaluate(world, call)
    return {
        "outcome": verdict.outcome,
        "reason": verdict.reason,
        "stage": verdict.stage,
        "resource": resource,
        "subjects": [explain_subject(world, call, resource, name) for name in call.subjects],
    }


def explain_subject(world: World, call: Call, resource: str, name: str) -> dict[str, object]:
    principal = principal_of(world.subjects[name])
    resolved = resolve(world, call, principal, resource)
    scope = scope_of(world, call, resource, read_parameters(call.params), principal, Work())
    subject = Subject(str(principal.get("user", name)), principal, scope)
    branches = []
    for branch_id, applied in [(b.branch_id, b.applied) for b in resolved.branches] or [("", [])]:
        together = once([*resolved.common, *applied])
        conj = Conjunction(world, call, resource, subject, together, resolved.role_denials)
        verdict = conjunction(conj)
        branches.append(
            {
                "branch": branch_id,
                "outcome": verdict.outcome,
                "reason": verdict.reason,
                "policies": [policy_line(a) for a in together],
                "grant": [a.document.policy_id for a in together if a.grants and a.document.resources],
                "failed": [(stage, f.reason, f.policy, f.at) for stage, check in STAGES for f in check(conj)],
            }
        )
    return {"principal": principal, "found": resolved.found, "absent": resolved.absent, "branches": branches}


def policy_line(applied: Applied) -> dict[str, object]:
    return {
        "id": applied.document.policy_id,
        "sha256": applied.document.digest,
        "layer": applied.layer,
        "via": applied.via,
        "grants": applied.grants,
    }
