"""Access rules: what each role may do on Kafka, for whom, and how a cluster differs from that.

The rules follow from the table in `schemas.topics`: who writes and reads a topic there may do that and nothing else.
`access.json` beside `config.json` says which Kafka principals have a role; nobody is granted anything that it does not
say:

    {"operator": ["User:olga"], "monitor": ["User:monitor"], "views": ["User:views"],
     "tenants": {"acme": {"admin": ["User:olga"], "agent": ["User:shopper"], "tool:bank": ["User:bank"]}}}

No broker is asked here: that is `streams.cluster.access_cluster`. See `docs/adr/0010`.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from processors.proof import jcs
from producers.home.files import FileError, read_file
from schemas import topics
from schemas.errors import InstallationError
from schemas.topics import OPERATOR_ROLES, TENANT_ROLES, is_tenant_id
from streams.cluster.topics import TOPICS, Drift, Remedy

FILE = "access.json"
FILE_BYTES_MAX = 1024 * 1024
FILE_NODES_MAX = 100_000
PRINCIPAL_CHARS_MAX = 256
ALLOWED = "allowed"
NOTHING = "nothing"
TOOL_PREFIX = "tool:"
CLUSTER_NAME = "kafka-cluster"
# With one of these on the cluster itself every other rule can be got around.
CLUSTER_POWERS = frozenset({"ALL", "ALTER", "ALTER_CONFIGS", "CLUSTER_ACTION"})

_TOOL = re.compile(r"[A-Za-z0-9_.@-]{1,128}")


class AccessError(InstallationError):
    """`access.json` is wrong, or the cluster does not show or take access rules; the message says what to do."""


class ResourceKind(enum.StrEnum):
    """What a rule is about."""

    TOPIC = "topic"
    GROUP = "group"
    TRANSACTIONAL_ID = "transactional-id"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Pattern:
    """One resource, or with `prefixed` all whose names begin so."""

    kind: ResourceKind
    name: str
    prefixed: bool = False

    def overlaps(self, other: Pattern) -> bool:
        """Whether some resource is meant by both."""
        if self.kind is not other.kind:
            return False
        if (self.name == "*" and not self.prefixed) or (other.name == "*" and not other.prefixed):
            return True
        mine, theirs = self.name, other.name
        return (
            (self.prefixed and theirs.startswith(mine))
            or (other.prefixed and mine.startswith(theirs))
            or mine == theirs
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.name}{'*' if self.prefixed else ''}"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Rule:
    """What a role may do."""

    role: str
    operation: str
    pattern: Pattern


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Grant:
    """One access rule as Kafka keeps it."""

    pattern: Pattern
    principal: str
    operation: str
    is_allowed: bool = True
    host: str = "*"

    def __str__(self) -> str:
        where = "" if self.host == "*" else f" from {self.host}"
        return f"{'' if self.is_allowed else 'deny '}{self.operation} for {self.principal}{where}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who has which role: principals by operator's role, and by tenant and role of the tenant."""

    operators: Mapping[str, tuple[str, ...]]
    tenants: Mapping[str, Mapping[str, tuple[str, ...]]]

    def principals(self, tenant: str, role: str) -> tuple[str, ...]:
        """Return who has a role for this tenant; `tool:<id>` is a role of its own."""
        return self.operators.get(role) or self.tenants.get(tenant, {}).get(role, ())

    def tools(self, tenant: str) -> tuple[str, ...]:
        """Return the ids of the tenant's tools."""
        return tuple(r.removeprefix(TOOL_PREFIX) for r in self.tenants.get(tenant, {}) if r.startswith(TOOL_PREFIX))


NOBODY = Access(operators={}, tenants={})


# --- who is who


def load_access(path: Path) -> Access:
    """Return what a file says; without the file nobody has a role. Raises AccessError."""
    try:
        text = read_file(path, FILE_BYTES_MAX)
    except FileError as exc:
        if exc.missing:
            return NOBODY
        raise AccessError(str(exc)) from exc
    try:
        return parse_access(text)
    except AccessError as exc:
        raise AccessError(f"{path}: {exc}") from exc


def parse_access(text: bytes) -> Access:
    """Return what a text says.

    Raises:
        AccessError: it is not such an object, names an unknown role or tenant, or mixes what must stay apart.
    """
    try:
        whole = jcs.parse_strict(text, nodes_max=FILE_NODES_MAX)
    except jcs.MalformedJSONError as exc:
        raise AccessError(f"not strict JSON: {exc.cause}") from exc
    if not isinstance(whole, dict):
        raise AccessError("want an object of roles")
    tenants = whole.pop("tenants", {})
    if not isinstance(tenants, dict):
        raise AccessError("want an object of tenants below `tenants`")
    for name in tenants:
        if not is_tenant_id(name):
            raise AccessError(f"{name[:64]!r} is no tenant id")
    access = Access(
        operators=_roles(whole, lambda role: role in OPERATOR_ROLES),
        tenants={name: _roles(roles, _is_tenant_role) for name, roles in tenants.items()},
    )
    _check_apart(access)
    return access


def _is_tenant_role(role: str) -> bool:
    if role.startswith(TOOL_PREFIX):
        return _TOOL.fullmatch(role.removeprefix(TOOL_PREFIX)) is not None
    return role in TENANT_ROLES and role != "tool"


def _roles(value: object, is_role: Callable[[str], bool]) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, dict):
        raise AccessError("want an object of roles")
    for role, principals in value.items():
        if not is_role(role):
            want = f"{', '.join(OPERATOR_ROLES)}, `tenants`; of a tenant {', '.join(TENANT_ROLES)} (tool as `tool:ID`)"
            raise AccessError(f"{role[:64]!r} is no role here: want {want}")
        if not isinstance(principals, list) or not all(map(_is_principal, principals)):
            raise AccessError(f'{role!r}: want a list of principals like "User:name"; nobody in particular is refused')
    return {role: tuple(dict.fromkeys(principals)) for role, principals in value.items()}


def _is_principal(value: object) -> bool:
    if not isinstance(value, str) or len(value) > PRINCIPAL_CHARS_MAX or not value.isprintable():
        return False
    name = value.removeprefix("User:")
    return name != value and name == name.strip() and name not in {"", "*", "ANONYMOUS"}


def _check_apart(access: Access) -> None:
    """Refuse a principal that would undo what the roles keep apart.

    Whoever is the monitor decides; whoever runs an agent or tool of one tenant is nobody to another tenant.
    """
    has: dict[str, dict[tuple[str, str], None]] = {}  # in the order of the file, so that one fault is told the same way
    for tenant, roles in (("", access.operators), *access.tenants.items()):
        for role, principals in roles.items():
            for principal in principals:
                has.setdefault(principal, {})[tenant, role] = None
    for principal, held in has.items():
        for tenant, role in held:
            if role in {"monitor", "views"} and len(held) > 1:
                raise AccessError(f"{principal} is {role} and has another role: give that another principal")
            if (role == "agent" or role.startswith(TOOL_PREFIX)) and len({t for t, _ in held}) > 1:
                raise AccessError(f"{principal} is {role} of {tenant} and has a role elsewhere: give each its own")


# --- what a role may do


def rules(tenant: str, tools: Iterable[str]) -> tuple[Rule, ...]:
    """Return every rule that concerns a tenant, the operator's roles included."""
    return tuple(_rules(tenant, [f"{TOOL_PREFIX}{tool}" for tool in tools]))


def _rules(tenant: str, tool_roles: list[str]) -> Iterator[Rule]:
    def roles(named: Iterable[str]) -> Iterator[str]:
        for role in named:
            yield from tool_roles if role == "tool" else (role,)

    readers: dict[str, None] = {}
    for topic in TOPICS:
        pattern = Pattern(kind=ResourceKind.TOPIC, name=topic.of(tenant))
        for operation, named in (("WRITE", topic.writers), ("READ", topic.readers)):
            yield from (Rule(role=role, operation=operation, pattern=pattern) for role in roles(named))
        readers.update(dict.fromkeys(roles(topic.readers)))
    looked_up = Pattern(kind=ResourceKind.GROUP, name=topics.reader_group(tenant))
    for role in readers:
        # To describe a group is not to join it, nor to commit under its name. Those of the operator have their own.
        if role not in OPERATOR_ROLES:
            yield Rule(role=role, operation="DESCRIBE", pattern=looked_up)
    exporting = Pattern(kind=ResourceKind.GROUP, name=topics.export_groups(tenant), prefixed=True)
    yield Rule(role="exporter", operation="READ", pattern=exporting)
    for role in tool_roles:
        group = topics.tool_group(tenant, role.removeprefix(TOOL_PREFIX))
        yield Rule(role=role, operation="READ", pattern=Pattern(kind=ResourceKind.GROUP, name=group))
    yield from _operator_rules()


def _operator_rules() -> Iterator[Rule]:
    """Yield what does not depend on a tenant. Only the operator's roles have prefixes: no tenant's name is one."""
    monitors = Pattern(kind=ResourceKind.TRANSACTIONAL_ID, name=topics.MONITOR_TRANSACTIONS_PREFIX, prefixed=True)
    yield Rule(role="monitor", operation="READ", pattern=Pattern(kind=ResourceKind.GROUP, name=topics.MONITOR_GROUP))
    yield Rule(role="monitor", operation="WRITE", pattern=monitors)
    views = Pattern(kind=ResourceKind.GROUP, name=topics.VIEWS_GROUP_PREFIX, prefixed=True)
    yield Rule(role="views", operation="READ", pattern=views)
    everything = Pattern(kind=ResourceKind.TOPIC, name=topics.ALL_TOPICS_PREFIX, prefixed=True)
    for operation in ("CREATE", "DESCRIBE", "DESCRIBE_CONFIGS", "ALTER_CONFIGS"):
        yield Rule(role="operator", operation=operation, pattern=everything)
    for operation in ("DESCRIBE", "DESCRIBE_CONFIGS", "ALTER"):  # access rules: see them, and make more
        yield Rule(role="operator", operation=operation, pattern=Pattern(kind=ResourceKind.CLUSTER, name=CLUSTER_NAME))


def grants(access: Access, tenant: str) -> frozenset[Grant]:
    """Return every grant that a tenant needs, with those of the operator's roles."""
    return frozenset(
        Grant(pattern=rule.pattern, principal=principal, operation=rule.operation)
        for rule in rules(tenant, access.tools(tenant))
        for principal in access.principals(tenant, rule.role)
    )


def concerns(grant: Grant, tenant: str) -> bool:
    """Whether a grant, wanted or not, reaches anything of this tenant or of the operator's roles."""
    if grant.pattern.kind is ResourceKind.CLUSTER:
        return grant.operation in CLUSTER_POWERS
    return any(grant.pattern.overlaps(own) for own in _own(tenant))


def _own(tenant: str) -> Iterator[Pattern]:
    """Yield what belongs to a tenant and to the operator, whether it exists or not."""
    for owner in (tenant, "ops"):
        yield Pattern(kind=ResourceKind.TOPIC, name=f"macaw.{owner}.", prefixed=True)
    yield Pattern(kind=ResourceKind.GROUP, name=f"macaw.{tenant}.", prefixed=True)
    yield Pattern(kind=ResourceKind.GROUP, name=topics.MONITOR_GROUP)
    yield Pattern(kind=ResourceKind.GROUP, name=topics.VIEWS_GROUP_PREFIX, prefixed=True)
    yield Pattern(kind=ResourceKind.TRANSACTIONAL_ID, name=topics.MONITOR_TRANSACTIONS_PREFIX, prefixed=True)


def access_drift(access: Access, tenant: str, found: Iterable[Grant]) -> tuple[Drift, ...]:
    """Compare what is wanted with what a cluster has: what is missing, and what reaches the tenant and should not."""
    wanted, have = grants(access, tenant), frozenset(found)
    others = frozenset(g for name in access.tenants for g in grants(access, name))
    unwanted = (g for g in have - wanted - others if concerns(g, tenant))
    return (*map(missing_drift, sorted(wanted - have)), *map(_unwanted_drift, sorted(unwanted)))


def missing_drift(grant: Grant) -> Drift:
    """Return the drift of a grant that the cluster lacks."""
    return Drift(resource=str(grant.pattern), key=str(grant), wanted=ALLOWED, found=NOTHING, remedy=Remedy.CREATE)


def _unwanted_drift(grant: Grant) -> Drift:
    return Drift(
        resource=str(grant.pattern),
        key=str(grant),
        wanted=NOTHING,
        found=ALLOWED if grant.is_allowed else "denied",
        remedy=Remedy.REFUSE,
        why="nothing is ever taken away here: name it in access.json, or remove it with kafka-acls",
    )
