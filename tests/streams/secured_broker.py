"""Apache Kafka with an authorizer: SASL with SCRAM on a loopback listener, and nothing for who proves nothing.

Three listeners. `secured` wants SCRAM-SHA-256 and is where everything happens. The plain one exists because a broker
is asked there whether it answers, which needs no right; whoever speaks to it is ANONYMOUS and has none. That of the
controller is SASL too: SCRAM credentials are in the log that it keeps, so it takes PLAIN.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from producers.home.security import Security
from streams.local.kafka import KafkaBroker
from streams.local.probe import LOOPBACK, find_free_port
from tests.waiting import PATIENCE_SECONDS

SUPER = "superuser"
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required"
_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"


class SecuredBroker(KafkaBroker):
    """A `KafkaBroker` that refuses what no access rule allows. `SUPER` may do everything."""

    def __init__(self, data_dir: Path, *, cache: Path | None = None) -> None:
        super().__init__(data_dir, cache=cache)
        self._passwords = {SUPER: secrets.token_hex(16)}
        self._secured = 0

    @property
    def secured(self) -> str:
        """Where clients must prove who they are."""
        return f"{LOOPBACK}:{self._secured}"

    def password(self, user: str) -> str:
        return self._passwords[user]

    def security(self, user: str) -> Security:
        """Return a user's client settings."""
        return Security(
            {
                "security.protocol": "SASL_PLAINTEXT",
                "sasl.mechanism": "SCRAM-SHA-256",
                "sasl.username": user,
                "sasl.password": self._passwords[user],
            }
        )

    def add_users(self, *users: str) -> None:
        """Make credentials; what they may do is another matter."""
        made = []
        for user in users:
            self._passwords[user] = secrets.token_hex(16)
            info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
            made.append(UserScramCredentialUpsertion(user, info, self._passwords[user].encode()))
        with self.admin(SUPER) as admin:
            for future in admin.alter_user_scram_credentials(made).values():
                future.result(PATIENCE_SECONDS)

    def admin(self, user: str) -> AdminClient:
        return AdminClient({**self.security(user), "bootstrap.servers": self.secured, "log_level": 2})

    def _run(self, main_class: str, *arguments: str, both_compilers: bool = False) -> list[str]:
        scram = f"SCRAM-SHA-256=[name={SUPER},password={self._passwords[SUPER]}]"
        first = ("--add-scram", scram) if arguments[:1] == ("format",) else ()
        return super()._run(main_class, *arguments, *first, both_compilers=both_compilers)

    def _settings(self, port: int) -> dict[str, str]:
        self._secured = self._secured or find_free_port()
        return super()._settings(port) | _secured_settings(port, self._secured, self._passwords[SUPER])


def _secured_settings(port: int, secured: int, password: str) -> Mapping[str, str]:
    controller = find_free_port()
    who = f'username="{SUPER}" password="{password}"'
    return {
        "listeners": f"PLAINTEXT://{LOOPBACK}:{port},SECURED://{LOOPBACK}:{secured},CONTROLLER://{LOOPBACK}:{controller}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port},SECURED://{LOOPBACK}:{secured}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SECURED:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT",
        "controller.quorum.voters": f"1@{LOOPBACK}:{controller}",
        "inter.broker.listener.name": "SECURED",
        "sasl.enabled.mechanisms": "SCRAM-SHA-256",
        "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-256",
        "sasl.mechanism.controller.protocol": "PLAIN",
        "listener.name.secured.scram-sha-256.sasl.jaas.config": f"{_SCRAM} {who};",
        "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.controller.plain.sasl.jaas.config": f'{_PLAIN} {who} user_{SUPER}="{password}";',
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:{SUPER}",
        "allow.everyone.if.no.acl.found": "false",
    }
