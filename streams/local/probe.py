"""Finding a free port for a broker, waiting for its first answer, and asking for its capabilities."""

import secrets
import socket
import time
from collections.abc import Callable
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource  # typed only there

from producers.home.security import UNSECURED, Security
from streams.local.info import APACHE_KAFKA, BrokerStartError

LOOPBACK: Final = "127.0.0.1"
# Below the range that Linux hands to outgoing connections, so that none of them takes a port
# between our look and the broker's bind.
PORT_FIRST: Final = 20_000
PORT_LAST: Final = 31_999
PORT_TRIES_MAX: Final = 100
ANSWER_SECONDS: Final = 1.0
PAUSE_SECONDS: Final = 0.05


def find_free_port() -> int:
    """Return a loopback port that is free now; another process may still take it first.

    Raises:
        BrokerStartError: no port was free in PORT_TRIES_MAX tries.
    """
    for _ in range(PORT_TRIES_MAX):
        port = PORT_FIRST + secrets.randbelow(PORT_LAST - PORT_FIRST + 1)
        if is_free(port):
            return port
    raise BrokerStartError(f"found no free port between {PORT_FIRST} and {PORT_LAST}: name a port for the broker")


def is_free(port: int) -> bool:
    """Return True if a broker could listen on this loopback port now."""
    with socket.socket() as probe:
        # Brokers set this option too: connections that linger after a restart do not prevent a bind.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def admin_client(bootstrap: str, security: Security = UNSECURED) -> AdminClient:
    """Return a quiet client for short requests. Use it as a context manager; without that it leaks threads."""
    return AdminClient(
        {
            **security,
            "bootstrap.servers": bootstrap,
            "log_level": 0,  # "connection refused" is expected while a broker starts
            "reconnect.backoff.ms": 20,
            "reconnect.backoff.max.ms": 200,
        }
    )


def await_answer(
    bootstrap: str, *, seconds: float, is_alive: Callable[[], bool], security: Security = UNSECURED
) -> bool:
    """Wait until the cluster lists a broker; return False if the broker died or `seconds` have passed.

    A Kafka broker listens before it has joined its cluster; it serves requests once it is listed.
    """
    deadline = time.monotonic() + seconds
    with admin_client(bootstrap, security) as admin:
        while is_alive() and time.monotonic() < deadline:
            try:
                if admin.list_topics(timeout=ANSWER_SECONDS).brokers:
                    return is_alive()
            except KafkaException:
                pass  # not yet
            time.sleep(PAUSE_SECONDS)
    return False


def ask_capabilities(bootstrap: str, security: Security = UNSECURED) -> frozenset[str]:
    """Return the capabilities of an unknown broker: all of Apache Kafka's, or none.

    An emulator knows few settings; one without a transaction time-out does not list that setting.
    A broker that refuses to show its settings counts as one without capabilities.
    """
    with admin_client(bootstrap, security) as admin:
        try:
            node = next(iter(admin.list_topics(timeout=10).brokers))
            resource = ConfigResource(ConfigResource.Type.BROKER, str(node))
            settings = admin.describe_configs([resource], request_timeout=10)[resource].result(10)
        except (KafkaException, StopIteration, TimeoutError):
            return frozenset()
    return APACHE_KAFKA if "transaction.max.timeout.ms" in settings else frozenset()


def disable_topic_creation(bootstrap: str) -> None:
    """Set a broker without a settings file of ours to create topics only on an explicit request.

    Raises:
        BrokerStartError: it refuses the setting.
    """
    with admin_client(bootstrap) as admin:
        node = next(iter(admin.list_topics(timeout=10).brokers))
        entry = ConfigEntry("auto.create.topics.enable", "false", incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ConfigResource.Type.BROKER, str(node), incremental_configs=[entry])
        try:
            admin.incremental_alter_configs([resource], request_timeout=10)[resource].result(10)
        except KafkaException as error:
            raise BrokerStartError(
                f"the broker at {bootstrap} refuses auto.create.topics.enable=false: {error}; start it again"
            ) from error
