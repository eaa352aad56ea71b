"""`macaw topic`: the topics and access rules that a tenant needs, compared with those of the cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from macaw.cli.terminal.options import AsJson, Tenant
from macaw.cli.terminal.status import DONE, FAILED

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

    from schemas.topics import Topic
    from streams.cluster.access import Rule
    from streams.cluster.plan import ClusterPlan
    from streams.cluster.topics import Drift

app = typer.Typer(help="Plan, apply and check topics and access rules.")

DAY_MS = 24 * 3600 * 1000
ANY_TENANT = "<tenant>"
ANY_TOOL = "<id>"
AS_WANTED = "as wanted"

Replication = Annotated[
    int | None,
    typer.Option("--replication", min=1, max=15, help="Replicas of each topic; without it config.json's, else 1."),
]


@app.command("plan")
def plan(*, tenant: Tenant = None, replication: Replication = None, as_json: AsJson = False) -> None:
    """Show each topic with its settings, the access rules, and the changes that `apply` would make.

    Without an installation the plan is for an empty cluster. Exit status 1 if retention deletes from intake what is not
    archived and verified.
    """
    from macaw.cli.terminal.output import say, show_json

    _check_name(tenant)
    if _is_installed():
        with _asked(tenant, replication) as (_, planned):
            pass
    else:
        planned = _for_empty_cluster(tenant, replication)
    if as_json:
        show_json(_plan_json(planned), indent=2)
    else:
        _show_plan(planned)
    for refusal in planned.topics.refusals:
        say(refusal)
    raise typer.Exit(FAILED if planned.topics.refusals else DONE)


@app.command("apply")
def apply(*, tenant: Tenant = None, replication: Replication = None, as_json: AsJson = False) -> None:
    """Create missing topics and rules, and alter those that differ; exit status 1 if a difference is left.

    Nothing is deleted.
    """
    from macaw.cli.terminal.output import say, show_json

    _check_name(tenant)
    with _asked(tenant, replication) as (admin, planned):
        done, after = planned.apply(admin)
    left = after.drift
    if as_json:
        show_json({"tenant": after.tenant, "done": _drift_json(done), "drift": _drift_json(left)}, indent=2)
    else:
        _show_drift(done, "DONE")
        for drift in left:
            say(f"left: {drift.resource}: {drift.key} is {drift.found}, want {drift.wanted}; {drift.why}")
        say(f"{after.tenant}: changes made: {len(done)}; differences left: {len(left)}")
    raise typer.Exit(FAILED if left else DONE)


@app.command("check")
def check(*, tenant: Tenant = None, replication: Replication = None, as_json: AsJson = False) -> None:
    """Show the differences between the cluster and the plan; exit status 1 if there are any."""
    from macaw.cli.terminal.output import say, show_json

    _check_name(tenant)
    with _asked(tenant, replication) as (_, found):
        drift = found.drift
    if as_json:
        has = found.found is not None
        show_json({"tenant": found.tenant, "authorizer": has, "drift": _drift_json(drift)}, indent=2)
    else:
        _show_drift(drift, "APPLY WOULD")
        rules = "access rules" if found.found is not None else "no access rules, for the cluster has no authorizer"
        say(f"{found.tenant}: differences: {len(drift)}; compared were topics, their settings, and {rules}")
    raise typer.Exit(FAILED if drift else DONE)


# --- comparing


def _check_name(tenant: str | None) -> None:
    from schemas.topics import is_tenant_id

    if tenant is not None and not is_tenant_id(tenant):
        raise typer.BadParameter(
            f"{tenant!r} is not a tenant id; use 2 to 40 of a-z, 0-9 and -, beginning with a letter",
            param_hint="--tenant",
        )


def _is_installed() -> bool:
    from producers.home.home import Home, HomeError

    try:
        Home.find()
    except HomeError:
        from macaw.cli.terminal.places import base_folder

        return (base_folder() / ".macaw" / "config.json").exists()  # an unreadable one counts too
    return True


@contextmanager
def _asked(tenant: str | None, replication: int | None) -> Iterator[tuple[AdminClient, ClusterPlan]]:
    """Yield the installation's cluster and its plan; the tenant need not exist yet."""
    import logging

    from macaw.cli.terminal.errors import CommandError
    from macaw.cli.terminal.output import log_to_stderr
    from macaw.cli.terminal.places import open_home, require_broker
    from streams.archive.places import verified_offset
    from streams.cluster.access import FILE, load_access
    from streams.cluster.plan import ClusterPlan
    from streams.cluster.topics import open_admin

    log_to_stderr(logging.WARNING)
    home = open_home()
    name = tenant or home.config.get("tenant")
    if name is None:
        raise CommandError("no tenant is named and config.json has no default: give --tenant")
    require_broker(home)
    access = load_access(home.path / FILE)
    with open_admin(home.bootstrap, home.security) as admin:
        yield (
            admin,
            ClusterPlan.read(
                admin,
                name,
                replication=replication or home.replication,
                access=access,
                verified=verified_offset(home, name),
            ),
        )


def _for_empty_cluster(tenant: str | None, replication: int | None) -> ClusterPlan:
    from streams.cluster.access import NOBODY
    from streams.cluster.plan import ClusterPlan
    from streams.cluster.topics import TopicPlan

    topics = TopicPlan(tenant=tenant or ANY_TENANT, replication=replication or 1, found={})
    return ClusterPlan(topics=topics, access=NOBODY, found=None)


# --- showing


def _show_plan(planned: ClusterPlan) -> None:
    from macaw.cli.terminal.output import say, show, show_table

    show_table(
        ("TOPIC", "PARTITIONS", "REPLICAS", "KEEPS", "PLAN"),
        (
            (t.of(planned.tenant), t.partitions, planned.topics.replication, _keeps(t), _topic_plan(planned, t))
            for t in planned.topics.topics
        ),
    )
    show("")
    show_table(
        ("ROLE", "MAY", "ON", "PRINCIPALS", "PLAN"),
        (
            (r.role, r.operation, r.pattern, " ".join(_who(planned, r)) or "none", _rule_plan(planned, r))
            for r in _rules(planned)
        ),
    )
    for drift in planned.drift:
        if drift.why:
            say(f"not by apply: {drift.resource}: {drift.key} is {drift.found}, want {drift.wanted}; {drift.why}")
    if planned.found is None:
        say("the cluster has no authorizer: these access rules have no effect until it has one")


def _rules(planned: ClusterPlan) -> tuple[Rule, ...]:
    from streams.cluster.access import rules

    return rules(planned.tenant, planned.access.tools(planned.tenant) or (ANY_TOOL,))


def _who(planned: ClusterPlan, rule: Rule) -> tuple[str, ...]:
    return planned.access.principals(planned.tenant, rule.role)


def _topic_plan(planned: ClusterPlan, topic: Topic) -> str:
    from streams.cluster.topics import MISSING

    drifts = [d for d in planned.topics.drift if d.resource == topic.of(planned.tenant)]
    if any(d.found == MISSING and not d.why for d in drifts):
        return "create"
    return "; ".join(f"{d.remedy} {d.key}: {d.found} -> {d.wanted}" for d in drifts) or AS_WANTED


def _rule_plan(planned: ClusterPlan, rule: Rule) -> str:
    who = _who(planned, rule)
    if not who or planned.found is None:
        return "-"
    missing = {
        g.principal for g in planned.missing_grants if (g.pattern, g.operation) == (rule.pattern, rule.operation)
    }
    return "allow" if missing & set(who) else AS_WANTED


def _keeps(topic: Topic) -> str:
    if topic.compacted:
        return "last per key"
    return "for ever" if topic.retention_ms < 0 else f"{topic.retention_ms // DAY_MS} days"


def _show_drift(drifts: Iterable[Drift], verb: str) -> None:
    from macaw.cli.terminal.output import show_table

    rows = [(d.resource, d.key, d.wanted, d.found, d.remedy, d.why) for d in drifts]
    if rows:
        show_table(("RESOURCE", "KEY", "WANTED", "FOUND", verb, "WHY"), rows)


def _drift_json(drifts: Iterable[Drift]) -> list[dict[str, str]]:
    return [
        {
            "resource": d.resource,
            "key": d.key,
            "wanted": d.wanted,
            "found": d.found,
            "remedy": str(d.remedy),
            "why": d.why,
        }
        for d in drifts
    ]


def _plan_json(planned: ClusterPlan) -> dict[str, Any]:
    return {
        "tenant": planned.tenant,
        "authorizer": planned.found is not None,
        "topics": [
            {
                "topic": t.of(planned.tenant),
                "holds": t.holds,
                "partitions": t.partitions,
                "replication": planned.topics.replication,
                "config": t.config(planned.topics.replication),
                "writers": list(t.writers),
                "readers": list(t.readers),
                "plan": _topic_plan(planned, t),
            }
            for t in planned.topics.topics
        ],
        "access": [
            {
                "role": r.role,
                "operation": r.operation,
                "kind": str(r.pattern.kind),
                "name": r.pattern.name,
                "prefixed": r.pattern.prefixed,
                "principals": list(_who(planned, r)),
                "plan": _rule_plan(planned, r),
            }
            for r in _rules(planned)
        ],
        "drift": _drift_json(planned.drift),
        "refused": list(planned.topics.refusals),
    }
