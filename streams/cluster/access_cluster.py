"""Access rules on a cluster: reading all of them and creating missing ones. This module removes no rule."""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclBindingFilter, AclOperation, AclPermissionType  # typed only there
from confluent_kafka.admin._config import ConfigResource  # typed only there
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType  # typed only there

from streams.cluster.access import AccessError, AclEntry, Pattern, ResourceKind
from streams.cluster.topics import ASK_SECONDS, answered

_KINDS = {
    ResourceKind.TOPIC: ResourceType.TOPIC,
    ResourceKind.GROUP: ResourceType.GROUP,
    ResourceKind.TRANSACTIONAL_ID: ResourceType.TRANSACTIONAL_ID,
    ResourceKind.CLUSTER: ResourceType.BROKER,  # its name in this library
}
_KIND_OF = {there: kind for kind, there in _KINDS.items()}
_UNSEEN = "the cluster does not show its access rules"


def read_grants(admin: AdminClient) -> frozenset[AclEntry] | None:
    """Return every grant of the cluster, or None if it has no authorizer: then every client may do everything.

    Raises:
        AccessError: the cluster does not show its rules to this principal, or does not answer.
    """
    bindings: list[AclBinding] = answered(
        admin.describe_acls(_everything(), request_timeout=ASK_SECONDS), _UNSEEN, AccessError
    )
    grants = frozenset(_grant(b) for b in bindings if ResourceType(b.restype) in _KIND_OF)
    # The library returns an empty answer without an error in two cases: without an authorizer, and if the authorizer
    # refuses us. So an empty answer does not prove that there is no rule.
    if not _has_authorizer(admin) and not grants:
        return None
    described = admin.describe_cluster(include_authorized_operations=True, request_timeout=ASK_SECONDS)
    may: list[AclOperation] | None = answered(described, _UNSEEN, AccessError).authorized_operations
    if AclOperation.DESCRIBE not in (may or ()):
        raise AccessError(
            f"{_UNSEEN}: this principal needs DESCRIBE on the cluster; use a principal with the role operator"
        )
    return grants


def _has_authorizer(admin: AdminClient) -> bool:
    """True if the cluster names an authorizer. Raises AccessError if it does not show its settings."""
    try:
        node = next(iter(admin.list_topics(timeout=ASK_SECONDS).brokers))
    except (KafkaException, StopIteration) as exc:
        raise AccessError(f"{_UNSEEN}: it lists no broker") from exc
    resource = ConfigResource(ConfigResource.Type.BROKER, str(node))
    asked = admin.describe_configs([resource], request_timeout=ASK_SECONDS)[resource]
    settings = answered(asked, _UNSEEN, AccessError)
    entry = settings.get("authorizer.class.name")
    return bool(entry is not None and entry.value)


def create_grants(admin: AdminClient, wanted: Iterable[AclEntry]) -> None:
    """Create access rules; existing ones stay as they are. Raises AccessError with the first refused rule."""
    todo = {_binding(grant): grant for grant in wanted}
    if not todo:
        return
    for binding, future in admin.create_acls(list(todo), request_timeout=ASK_SECONDS).items():
        grant = todo[binding]
        answered(future, f"cannot allow {grant} on {grant.pattern}", AccessError)


def _everything() -> AclBindingFilter:
    return AclBindingFilter(
        ResourceType.ANY,
        None,  # type: ignore[arg-type] # any name; the library documents it
        ResourcePatternType.ANY,
        None,  # type: ignore[arg-type] # any principal
        None,  # type: ignore[arg-type] # any host
        AclOperation.ANY,
        AclPermissionType.ANY,
    )


def _grant(binding: AclBinding) -> AclEntry:
    prefixed = binding.resource_pattern_type is ResourcePatternType.PREFIXED
    return AclEntry(
        pattern=Pattern(kind=_KIND_OF[ResourceType(binding.restype)], name=binding.name, prefixed=prefixed),
        principal=binding.principal,
        operation=AclOperation(binding.operation).name,  # UNKNOWN where the library is older than the cluster
        is_allowed=binding.permission_type is AclPermissionType.ALLOW,
        host=binding.host,
    )


def _binding(grant: AclEntry) -> AclBinding:
    pattern = ResourcePatternType.PREFIXED if grant.pattern.prefixed else ResourcePatternType.LITERAL
    permission = AclPermissionType.ALLOW if grant.is_allowed else AclPermissionType.DENY
    operation = AclOperation[grant.operation]
    kind = _KINDS[grant.pattern.kind]
    return AclBinding(kind, grant.pattern.name, pattern, grant.principal, grant.host, operation, permission)
