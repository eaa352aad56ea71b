"""A cluster with an authorizer, tenants beside each other, and a user for every role: for tests of who may do what."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, TopicPartition

from producers.home.home import Home
from schemas.topics import OPS_SESSIONS
from streams.cluster.access import FILE, Access, parse_access
from streams.cluster.plan import ClusterPlan
from tests.streams.secured_broker import SUPER, SecuredBroker
from tests.waiting import PATIENCE_SECONDS

OPERATORS = {"operator": ["User:olga"], "monitor": ["User:monitor"], "views": ["User:views"]}
# What a tenant's user is called, by role: the tenant's id stands before it.
TENANT_USERS = {
    "agent": "agent",
    "tool:bank": "bank",
    "tool:mail": "mail",
    "approver": "approver",
    "admin": "admin",
    "bridge": "bridge",
    "signer": "signer",
    "exporter": "exporter",
}


@dataclass
class SecuredWorld:
    """Tenants `left` and `right` have a user for each role; `whole` has an installation's few."""

    broker: SecuredBroker
    base: Path
    left: str
    right: str
    whole: str
    document: Mapping[str, object]

    @property
    def bootstrap(self) -> str:
        return self.broker.secured

    @property
    def access(self) -> Access:
        return parse_access(json.dumps(self.document).encode())

    @property
    def tenants(self) -> tuple[str, str, str]:
        return self.left, self.right, self.whole

    def users(self, tenant: str) -> dict[str, str]:
        """Return a tenant's users and those of the operator, by role."""
        own = {role: f"{tenant}-{name}" for role, name in TENANT_USERS.items()}
        return own | {role: names[0].removeprefix("User:") for role, names in OPERATORS.items()}

    def plan(self, tenant: str, *, user: str = SUPER, access: Access | None = None) -> ClusterPlan:
        with self.broker.admin(user) as admin:
            return ClusterPlan.read(admin, tenant, replication=1, access=access or self.access)

    def apply(self, tenant: str, *, user: str = SUPER) -> ClusterPlan:
        with self.broker.admin(user) as admin:
            return ClusterPlan.read(admin, tenant, replication=1, access=self.access).apply(admin)[1]

    def home(self, user: str) -> Home:
        """Make a home as a machine of this user would have it; all share the folder of tenants."""
        base = self.base / user
        path = base / ".macaw"
        path.mkdir(parents=True)
        (self.base / "tenants").mkdir(exist_ok=True)
        (path / "tenants").symlink_to(self.base / "tenants")
        password = path / "kafka.password"
        password.touch(mode=0o600)
        password.write_text(self.broker.password(user) + "\n")
        (path / FILE).write_text(json.dumps(self.document))
        kafka = {**self.broker.security(user), "sasl.password_file": "kafka.password"}
        del kafka["sasl.password"]
        config = {"bootstrap": self.bootstrap, "broker_kind": "environment", "deployment": "test", "kafka": kafka}
        (path / "config.json").write_text(json.dumps({**config, "tenant": self.whole}))
        return Home.open(base)


@contextmanager
def secured_world(base: Path, left: str, right: str, whole: str) -> Iterator[SecuredWorld]:
    """Start the broker, make every user, and let the operator apply what the table says."""
    whole_roles = {"admin": "admin", "exporter": "admin", "agent": "agent", "tool:bank": "bank"}
    tenants = {
        **{tenant: {role: [f"User:{tenant}-{n}"] for role, n in TENANT_USERS.items()} for tenant in (left, right)},
        whole: {role: [f"User:{whole}-{name}"] for role, name in whole_roles.items()},
    }
    founder = f"User:{whole}-founder"  # who founds a tenant makes topics, and speaks as its first admin
    tenants[whole]["admin"].append(founder)
    document = {**OPERATORS, "operator": [*OPERATORS["operator"], founder], "tenants": tenants}
    with SecuredBroker(base / "broker") as broker:
        world = SecuredWorld(broker, base, left, right, whole, document)
        users = {p.removeprefix("User:") for roles in tenants.values() for names in roles.values() for p in names}
        broker.add_users(*sorted(users), "olga", "monitor", "views", "stranger")
        # The first time somebody must who may do everything: it makes the operator one.
        world.apply(left)
        world.apply(right, user="olga")
        world.apply(whole, user="olga")
        _find_coordinators(broker)
        yield world


def _find_coordinators(broker: SecuredBroker) -> None:
    """Have the broker make its topic of offsets, as the first member of any group does."""
    consumer = Consumer(
        {**broker.security(SUPER), "bootstrap.servers": broker.secured, "group.id": "first", "log_level": 2}
    )
    with contextlib.suppress(KafkaException):  # it has begun to, and says so
        consumer.committed([TopicPartition(OPS_SESSIONS.of(""), 0)], timeout=PATIENCE_SECONDS)
    consumer.close()
