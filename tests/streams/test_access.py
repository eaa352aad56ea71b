"""Who may do what, from the table alone: rules, who has them, and what of a cluster's rules is missing or too much."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schemas import topics
from schemas.topics import BODIES, INTAKE, LOGIN_ANSWERS, LOGINS, OPERATOR_ROLES, TENANT_TOPICS
from streams.cluster.access import (
    FILE_BYTES_MAX,
    NOBODY,
    Access,
    AccessError,
    AclEntry,
    Pattern,
    ResourceKind,
    access_drift,
    concerns,
    grants,
    load_access,
    parse_access,
    rules,
)
from streams.cluster.topics import Remedy
from streams.views.app import ViewsSettings, build_app
from streams.worker.settings import LoopSettings

DOCUMENT: dict[str, Any] = {
    "operator": ["User:olga"],
    "monitor": ["User:monitor"],
    "views": ["User:views"],
    "tenants": {
        "acme": {"admin": ["User:olga"], "agent": ["User:shopper", "User:buyer"], "tool:bank": ["User:bank"]},
        "globex": {"agent": ["User:guest"]},
    },
}


def parsed(document: Any) -> Access:
    return parse_access(json.dumps(document).encode())


ACCESS = parsed(DOCUMENT)


# --- rules


def test_only_a_monitor_writes_what_a_monitor_says() -> None:
    """Of a tenant's topics everybody else may at most write to intake, and what is sealed: bodies, logins, answers."""
    written = {(r.role, r.pattern.name) for r in rules("acme", ["bank"]) if r.operation == "WRITE"}

    others = (INTAKE, BODIES, LOGINS, LOGIN_ANSWERS)
    assert {name for role, name in written if role not in OPERATOR_ROLES} == {t.of("acme") for t in others}
    assert {role for role, name in written if name == LOGIN_ANSWERS.of("acme")} == {"bridge"}
    tenants = {name for role, name in written if role == "monitor" and name.startswith("macaw.acme.")}
    assert tenants == {t.of("acme") for t in TENANT_TOPICS if t not in (BODIES, LOGINS, LOGIN_ANSWERS)}


READS = {
    "agent": {"results", "audit", "registry", "bodies", "login-answers"},
    "tool:bank": {"decisions", "results", "audit", "registry", "sessions", "bodies", "login-answers"},
    "approver": {"results", "audit", "registry", "login-answers"},
    "admin": {"results", "audit", "registry", "sessions", "dead-letters", "login-answers"},
    "bridge": {"registry", "results", "logins"},
    "signer": {"audit", "registry"},
    "exporter": {"intake", "decisions", "results", "audit", "registry", "sessions", "dead-letters"},
    "monitor": {"intake", "audit", "registry", "state"},
    "views": {"decisions"},
    "operator": set(),
}


@pytest.mark.parametrize("role", READS)
def test_a_role_reads_what_it_needs_and_no_more(role: str) -> None:
    """Said here once more, by hand: intake has parameters in clear, sessions have people's attributes."""
    mine = [r.pattern for r in rules("acme", ["bank"]) if (r.role, r.operation) == (role, "READ")]
    names = {p.name for p in mine if p.kind is ResourceKind.TOPIC}

    assert {n.removeprefix("macaw.acme.") for n in names if n.startswith("macaw.acme.")} == READS[role]


def test_a_tenants_roles_have_whole_names_of_their_own_tenant() -> None:
    """A prefix could reach a tenant that is founded later, but for one that ends with a dot; no operation is wide."""
    own = [r for r in rules("acme", ["bank", "mail"]) if r.role not in OPERATOR_ROLES]

    assert own
    assert {(r.role, r.operation, r.pattern.name) for r in own if r.pattern.prefixed} == {
        ("exporter", "READ", "macaw.acme.export.")
    }
    assert {r.pattern.name.split(".")[1] for r in own} == {"acme"}
    assert {r.operation for r in own} == {"READ", "WRITE", "DESCRIBE"}
    assert {r.pattern.kind for r in own} == {ResourceKind.TOPIC, ResourceKind.GROUP}


def test_a_tool_commits_in_its_own_group_only() -> None:
    """To look up the readers' group is not to commit in it."""
    found = {
        (r.role, r.pattern.name)
        for r in rules("acme", ["bank", "mail"])
        if r.pattern.kind is ResourceKind.GROUP and r.operation == "READ"
    }

    assert found == {
        ("tool:bank", "macaw.acme.tool.bank"),
        ("tool:mail", "macaw.acme.tool.mail"),
        ("exporter", "macaw.acme.export."),
        ("monitor", "macaw.monitor"),
        ("views", "macaw-views-"),
    }


def test_the_names_in_the_rules_are_those_that_the_processes_use(tmp_path: Path) -> None:
    """A worker's group and transactional ids, and the group of a views process."""
    settings = LoopSettings(bootstrap="b", transactional_id=f"{topics.MONITOR_TRANSACTIONS_PREFIX}0")
    views = build_app(ViewsSettings(bootstrap="127.0.0.1:1", instance="one", data_dir=tmp_path))

    assert settings.consumer()["group.id"] == topics.MONITOR_GROUP
    assert all(settings.producer(i)["transactional.id"].startswith("macaw.monitor.0.") for i in range(settings.lanes))
    assert views.conf.id.startswith(topics.VIEWS_GROUP_PREFIX)


def test_grants_are_the_rules_of_who_has_a_role() -> None:
    """Every principal of a role has its rules; nobody has any that no role gives."""
    wanted = grants(ACCESS, "acme")
    decisions = {g.principal: g.operation for g in wanted if g.pattern.name == "macaw.acme.decisions"}
    intake = {(g.principal, g.operation) for g in wanted if g.pattern.name == "macaw.acme.intake"}

    assert decisions == {"User:monitor": "WRITE", "User:bank": "READ", "User:views": "READ"}
    assert {p for p, operation in intake if operation == "WRITE"} == {
        *("User:monitor", "User:shopper", "User:buyer", "User:bank", "User:olga"),
    }
    assert {p for p, operation in intake if operation == "READ"} == {"User:monitor"}
    assert not any("globex" in g.pattern.name or g.principal == "User:guest" for g in wanted)
    assert all(g.is_allowed and g.host == "*" for g in wanted)
    assert grants(NOBODY, "acme") == frozenset()


# --- who is who


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], "object of roles"),
        ({"superuser": ["User:x"]}, "'superuser' is not a role"),
        ({"agent": ["User:x"]}, "'agent' is not a role"),
        ({"tenants": []}, "object of tenant ids"),
        ({"tenants": {"Acme": {}}}, "not a tenant id"),
        ({"tenants": {"ops": {}}}, "not a tenant id"),
        ({"tenants": {"acme": []}}, "object of roles"),
        ({"tenants": {"acme": {"monitor": ["User:x"]}}}, "'monitor' is not a role"),
        ({"tenants": {"acme": {"tool": ["User:x"]}}}, "'tool' is not a role"),
        ({"tenants": {"acme": {"tool:": ["User:x"]}}}, "'tool:' is not a role"),
        ({"tenants": {"acme": {"tool:*": ["User:x"]}}}, "'tool:*' is not a role"),
        ({"tenants": {"acme": {"agent": "User:x"}}}, "must be a list of principals"),
        ({"tenants": {"acme": {"agent": ["x"]}}}, "must be a list of principals"),
        ({"tenants": {"acme": {"agent": [7]}}}, "must be a list of principals"),
        ({"tenants": {"acme": {"agent": ["User:"]}}}, "must be a list of principals"),
        ({"tenants": {"acme": {"agent": ["User:*"]}}}, "must be a list of principals"),
        ({"tenants": {"acme": {"agent": ["User:ANONYMOUS"]}}}, "must be a list of principals"),
        ({"tenants": {"acme": {"agent": ["User: x"]}}}, "must be a list of principals"),
        ({"tenants": {"acme": {"agent": ["User:x\n"]}}}, "must be a list of principals"),
        ({"tenants": {"acme": {"agent": ["User:" + "x" * 300]}}}, "must be a list of principals"),
        ({"monitor": ["User:m"], "views": ["User:m"]}, "and another role"),
        ({"monitor": ["User:m"], "tenants": {"acme": {"agent": ["User:m"]}}}, "has the role monitor and another role"),
        (
            {"tenants": {"acme": {"agent": ["User:a"]}, "globex": {"agent": ["User:a"]}}},
            "role outside this tenant",
        ),
        (
            {"tenants": {"acme": {"tool:b": ["User:a"]}, "globex": {"exporter": ["User:a"]}}},
            "role outside this tenant",
        ),
        ({"operator": ["User:a"], "tenants": {"acme": {"agent": ["User:a"]}}}, "role outside this tenant"),
    ],
)
def test_what_would_undo_the_separation_is_refused(document: Any, says: str) -> None:
    """Everybody in particular: `User:*` as an agent would make every stranger one."""
    with pytest.raises(AccessError, match=says.replace("*", r"\*")):
        parsed(document)


@pytest.mark.parametrize("text", [b"", b"{", b'{"monitor": [], "monitor": ["User:eve"]}', b"\xff", b"[" * 5000])
def test_a_text_that_reads_two_ways_is_refused(text: bytes) -> None:
    with pytest.raises(AccessError, match="not strict JSON"):
        parse_access(text)


def test_without_a_file_nobody_has_a_role(tmp_path: Path) -> None:
    """A file that cannot be read is not the same."""
    path = tmp_path / "access.json"
    assert load_access(path) == NOBODY
    path.write_bytes(b" " * (FILE_BYTES_MAX + 1))
    with pytest.raises(AccessError, match=r"access\.json: it is larger"):
        load_access(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(AccessError, match="cannot read"):
        load_access(path)


# --- drift


def test_a_cluster_as_wanted_has_no_drift() -> None:
    """Rules of other tenants, and of people who have nothing to do with us, are no drift."""
    others = {
        AclEntry(pattern=Pattern(kind=ResourceKind.TOPIC, name="orders"), principal="User:sue", operation="ALL"),
        AclEntry(
            pattern=Pattern(kind=ResourceKind.GROUP, name="orders-", prefixed=True),
            principal="User:sue",
            operation="READ",
        ),
        AclEntry(
            pattern=Pattern(kind=ResourceKind.CLUSTER, name="kafka-cluster"), principal="User:sue", operation="DESCRIBE"
        ),
    }

    assert access_drift(ACCESS, "acme", grants(ACCESS, "acme") | grants(ACCESS, "globex") | others) == ()


def test_each_missing_grant_is_named() -> None:
    wanted = grants(ACCESS, "acme")
    gone = AclEntry(
        pattern=Pattern(kind=ResourceKind.GROUP, name="macaw.acme.tool.bank"), principal="User:bank", operation="READ"
    )

    [drift] = access_drift(ACCESS, "acme", wanted - {gone})

    assert (drift.resource, drift.key) == ("group macaw.acme.tool.bank", "READ for User:bank")
    assert (drift.wanted, drift.found, drift.remedy) == ("allowed", "nothing", Remedy.CREATE)
    assert len(access_drift(ACCESS, "acme", ())) == len(wanted)


def topic(name: str, *, prefixed: bool = False) -> Pattern:
    return Pattern(kind=ResourceKind.TOPIC, name=name, prefixed=prefixed)


def group(name: str, *, prefixed: bool = False) -> Pattern:
    return Pattern(kind=ResourceKind.GROUP, name=name, prefixed=prefixed)


TOO_MUCH = {
    "a stranger reads results": AclEntry(pattern=topic("macaw.acme.results"), principal="User:eve", operation="READ"),
    "everybody reads results": AclEntry(pattern=topic("macaw.acme.results"), principal="User:*", operation="READ"),
    "an agent writes decisions": AclEntry(
        pattern=topic("macaw.acme.decisions"), principal="User:shopper", operation="WRITE"
    ),
    "an agent may do all to intake": AclEntry(
        pattern=topic("macaw.acme.intake"), principal="User:shopper", operation="ALL"
    ),
    "a topic that is not there yet": AclEntry(
        pattern=topic("macaw.acme.logins"), principal="User:eve", operation="READ"
    ),
    "every topic": AclEntry(pattern=topic("*"), principal="User:eve", operation="READ"),
    "a prefix above us": AclEntry(pattern=topic("mac", prefixed=True), principal="User:eve", operation="WRITE"),
    "a prefix inside us": AclEntry(
        pattern=topic("macaw.acme.de", prefixed=True), principal="User:eve", operation="WRITE"
    ),
    "a prefix of any tenant": AclEntry(pattern=topic("macaw.", prefixed=True), principal="User:olga", operation="READ"),
    "the operator's topic": AclEntry(pattern=topic("macaw.ops.sessions"), principal="User:guest", operation="READ"),
    "the monitor's group": AclEntry(pattern=group("macaw.monitor"), principal="User:bank", operation="READ"),
    "a tool's group": AclEntry(pattern=group("macaw.acme.tool.bank"), principal="User:shopper", operation="READ"),
    "a view's group": AclEntry(pattern=group("macaw-views-1"), principal="User:eve", operation="DELETE"),
    "every group": AclEntry(pattern=group("*"), principal="User:eve", operation="READ"),
    "the monitor's transactions": AclEntry(
        pattern=Pattern(kind=ResourceKind.TRANSACTIONAL_ID, name="macaw.monitor.0.0"),
        principal="User:eve",
        operation="WRITE",
    ),
    "power over the cluster": AclEntry(
        pattern=Pattern(kind=ResourceKind.CLUSTER, name="kafka-cluster"), principal="User:eve", operation="ALTER"
    ),
    "the monitor from one host": replace(
        AclEntry(pattern=topic("macaw.acme.audit"), principal="User:monitor", operation="WRITE"), host="10.0.0.1"
    ),
    "a denial that stops the monitor": replace(
        AclEntry(pattern=topic("macaw.acme.audit"), principal="User:monitor", operation="WRITE"), is_allowed=False
    ),
    "an operation that is not known": AclEntry(
        pattern=topic("macaw.acme.audit"), principal="User:monitor", operation="UNKNOWN"
    ),
}


@pytest.mark.parametrize("extra", TOO_MUCH.values(), ids=TOO_MUCH.keys())
def test_whatever_reaches_a_tenant_and_was_not_planned_is_drift(extra: AclEntry) -> None:
    """It is named, and never taken away: whose it is nobody here can know."""
    [drift] = access_drift(ACCESS, "acme", grants(ACCESS, "acme") | {extra})

    assert (drift.resource, drift.key, drift.wanted) == (str(extra.pattern), str(extra), "nothing")
    assert drift.found == ("allowed" if extra.is_allowed else "denied")
    assert drift.remedy is Remedy.REFUSE
    assert drift.why


@pytest.mark.parametrize(
    ("pattern", "concerned"),
    [
        (topic("macaw.acme.results"), True),
        (topic("macaw.acme"), False),
        (topic("macaw.acme-2.results"), False),
        (topic("macaw.globex.results"), False),
        (topic("macaw.acme", prefixed=True), True),
        (topic("macaw.acme-", prefixed=True), False),
        (topic("*", prefixed=True), False),
        (group("macaw.acme.results"), True),
        (group("macaw.monitor.x"), False),
    ],
)
def test_a_pattern_concerns_whom_it_reaches(pattern: Pattern, concerned: bool) -> None:
    """A name that only begins alike is another's; a prefix that is a star means names that begin with a star."""
    assert concerns(AclEntry(pattern=pattern, principal="User:eve", operation="READ"), "acme") is concerned
