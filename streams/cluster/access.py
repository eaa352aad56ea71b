"""Access rules: the Kafka operations that each role needs, the grants that follow, and how a cluster differs from them.

The rules follow from the table in `schemas.topics`: a role may write and read exactly the topics that the table lists
for it. `access.json` beside `config.json` lists the Kafka principals of each role. A principal that it does not list
gets no grant:

    {"operator": ["User:olga"], "monitor": ["User:monitor"], "views": ["User:views"],
     "tenants": {"acme": {"admin": ["User:olga"], "agent": ["User:shopper"], "tool:bank": ["User:bank"]}}}

This module does not ask a broker; `streams.cluster.access_cluster` does. See `docs/adr/0010`.
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
# A principal with one of these on the cluster itself can get around every other rule.
CLUSTER_POWERS = frozenset({"ALL", "ALTER", "ALTER_CONFIGS", "CLUSTER_ACTION"})

_TOOL = re.compile(r"[A-Za-z0-9_.@-]{1,128}")


class AccessError(InstallationError):
    """`access.json` is malformed, or the cluster does not show or accept access rules; the message says which."""


class ResourceKind(enum.StrEnum):
    """The kind of Kafka resource that a rule covers."""

    TOPIC = "topic"
    GROUP = "group"
    TRANSACTIONAL_ID = "transactional-id"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Pattern:
    """One resource, or with `prefixed` all resources with names that begin with `name`."""

    kind: ResourceKind
    name: str
    prefixed: bool = False

    def overlaps(self, other: Pattern) -> bool:
        """True if both patterns cover some resource."""
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
    """One Kafka operation that a role needs on the resources of a pattern."""

    role: str
    operation: str
    pattern: Pattern


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class AclEntry:
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
    """The principals of each role: by operator's role, and by tenant and tenant's role."""

    operators: Mapping[str, tuple[str, ...]]
    tenants: Mapping[str, Mapping[str, tuple[str, ...]]]

    def principals(self, tenant: str, role: str) -> tuple[str, ...]:
        """Return the principals of a role for this tenant; `tool:<id>` is a role of its own."""
        return self.operators.get(role) or self.tenants.get(tenant, {}).get(role, ())

    def tools(self, tenant: str) -> tuple[str, ...]:
        """Return the ids of the tenant's tools."""
        return tuple(r.removeprefix(TOOL_PREFIX) for r in self.tenants.get(tenant, {}) if r.startswith(TOOL_PREFIX))


NOBODY = Access(operators={}, tenants={})


# --- reading access.json


def load_access(path: Path) -> Access:
    """Return the roles of a file. Without the file no principal has a role. Raises AccessError."""
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
    """Return the roles of a text.

    Raises:
        AccessError: the text is not an object of roles, names an unknown role or a malformed tenant id, or gives one
            principal roles that must stay apart.
    """
    try:
        whole = jcs.parse_strict(text, nodes_max=FILE_NODES_MAX)
    except jcs.MalformedJSONError as exc:
        raise AccessError(f"not strict JSON: {exc.cause}") from exc
    if not isinstance(whole, dict):
        raise AccessError("must be an object of roles")
    tenants = whole.pop("tenants", {})
    if not isinstance(tenants, dict):
        raise AccessError("`tenants` must be an object of tenant ids, each with its roles")
    for name in tenants:
        if not is_tenant_id(name):
            raise AccessError(
                f"{name[:64]!r} is not a tenant id; use 2 to 40 of a-z, 0-9 and -, beginning with a letter"
            )
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
        raise AccessError("the value of a tenant must be an object of roles")
    for role, principals in value.items():
        if not is_role(role):
            raise AccessError(
                f"{role[:64]!r} is not a role here; operator's roles are {', '.join(OPERATOR_ROLES)}, and a tenant's "
                f"are {', '.join(TENANT_ROLES)} (tool as `tool:ID`)"
            )
        if not isinstance(principals, list) or not all(map(_is_principal, principals)):
            raise AccessError(
                f'{role!r} must be a list of principals like "User:name"; "User:*" and "User:ANONYMOUS" are not allowed'
            )
    return {role: tuple(dict.fromkeys(principals)) for role, principals in value.items()}


def _is_principal(value: object) -> bool:
    if not isinstance(value, str) or len(value) > PRINCIPAL_CHARS_MAX or not value.isprintable():
        return False
    name = value.removeprefix("User:")
    return name != value and name == name.strip() and name not in {"", "*", "ANONYMOUS"}


def _check_apart(access: Access) -> None:
    """Raise AccessError for a principal with roles that must stay apart.

    The principal of the monitor or of the views has no other role. The principal of an agent or tool has no role of
    another tenant or of the operator.
    """
    has: dict[str, dict[tuple[str, str], None]] = {}  # in the order of the file, so that a fault has one message
    for tenant, roles in (("", access.operators), *access.tenants.items()):
        for role, principals in roles.items():
            for principal in principals:
                has.setdefault(principal, {})[tenant, role] = None
    for principal, held in has.items():
        for tenant, role in held:
            if role in {"monitor", "views"} and len(held) > 1:
                raise AccessError(
                    f"{principal} has the role {role} and another role: give the other role a principal of its own"
                )
            if (role == "agent" or role.startswith(TOOL_PREFIX)) and len({t for t, _ in held}) > 1:
                raise AccessError(
                    f"{principal} has the role {role} of tenant {tenant} and a role outside this tenant: give each "
                    "role a principal of its own"
                )


# --- the rules of a role


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
        # DESCRIBE allows neither joining a group nor committing for it. The operator's roles have groups of their own.
        if role not in OPERATOR_ROLES:
            yield Rule(role=role, operation="DESCRIBE", pattern=looked_up)
    exporting = Pattern(kind=ResourceKind.GROUP, name=topics.export_groups(tenant), prefixed=True)
    yield Rule(role="exporter", operation="READ", pattern=exporting)
    for role in tool_roles:
        group = topics.tool_group(tenant, role.removeprefix(TOOL_PREFIX))
        yield Rule(role=role, operation="READ", pattern=Pattern(kind=ResourceKind.GROUP, name=group))
    yield from _operator_rules()


def _operator_rules() -> Iterator[Rule]:
    """Yield the rules that do not depend on a tenant. Only these have prefixes, for no tenant id is one of them."""
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


def grants(access: Access, tenant: str) -> frozenset[AclEntry]:
    """Return every grant that a tenant needs, with those of the operator's roles."""
    return frozenset(
        AclEntry(pattern=rule.pattern, principal=principal, operation=rule.operation)
        for rule in rules(tenant, access.tools(tenant))
        for principal in access.principals(tenant, rule.role)
    )


def concerns(grant: AclEntry, tenant: str) -> bool:
    """True if a grant, wanted or not, covers a resource of this tenant or of the operator's roles."""
    if grant.pattern.kind is ResourceKind.CLUSTER:
        return grant.operation in CLUSTER_POWERS
    return any(grant.pattern.overlaps(own) for own in _own(tenant))


def _own(tenant: str) -> Iterator[Pattern]:
    """Yield the patterns of all resources of a tenant and of the operator, existing or not."""
    for owner in (tenant, "ops"):
        yield Pattern(kind=ResourceKind.TOPIC, name=f"macaw.{owner}.", prefixed=True)
    yield Pattern(kind=ResourceKind.GROUP, name=f"macaw.{tenant}.", prefixed=True)
    yield Pattern(kind=ResourceKind.GROUP, name=topics.MONITOR_GROUP)
    yield Pattern(kind=ResourceKind.GROUP, name=topics.VIEWS_GROUP_PREFIX, prefixed=True)
    yield Pattern(kind=ResourceKind.TRANSACTIONAL_ID, name=topics.MONITOR_TRANSACTIONS_PREFIX, prefixed=True)


def access_drift(access: Access, tenant: str, found: Iterable[AclEntry]) -> tuple[Drift, ...]:
    """Return the differences: wanted grants that the cluster lacks, and unwanted ones that reach the tenant."""
    wanted, have = grants(access, tenant), frozenset(found)
    others = frozenset(g for name in access.tenants for g in grants(access, name))
    unwanted = (g for g in have - wanted - others if concerns(g, tenant))
    return (*map(missing_drift, sorted(wanted - have)), *map(_unwanted_drift, sorted(unwanted)))


def missing_drift(grant: AclEntry) -> Drift:
    """Return the drift of a grant that the cluster lacks."""
    return Drift(resource=str(grant.pattern), key=str(grant), wanted=ALLOWED, found=NOTHING, remedy=Remedy.CREATE)


def _unwanted_drift(grant: AclEntry) -> Drift:
    return Drift(
        resource=str(grant.pattern),
        key=str(grant),
        wanted=NOTHING,
        found=ALLOWED if grant.is_allowed else "denied",
        remedy=Remedy.REFUSE,
        why="`macaw topic apply` removes no access rule: list the principal in access.json, or use kafka-acls",
    )
