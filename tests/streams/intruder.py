"""What anybody with credentials can try against a broker, each shape of attack as one function.

Reads and commits are raw requests: the client library looks topics and groups up first, and gives up there. Whoever
wants in would not. Every function returns the name of the broker's error, or "" where it did as it was told.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.fetch import FetchRequest
from confluent_kafka import KafkaError, KafkaException, Producer

from producers.home.security import Security
from tests.waiting import PATIENCE_SECONDS

T = TypeVar("T")

TRANSACTION_TIMEOUT_MS = 10_000
_PASSING = {"NOT_COORDINATOR", "COORDINATOR_NOT_AVAILABLE", "COORDINATOR_LOAD_IN_PROGRESS"}


def produced(bootstrap: str, security: Security, topics: Iterable[str], **settings: Any) -> dict[str, str]:
    """Write one record to the first partition of each topic."""
    found: dict[str, str] = {}

    def settle(topic: str) -> Callable[[KafkaError | None, Any], None]:
        return lambda error, _: found.__setitem__(topic, error.name() if error else "")

    producer = Producer({**security, "bootstrap.servers": bootstrap, "log_level": 0, **settings})
    for topic in topics:
        producer.produce(topic, b"\x00forged", b"forged", 0, on_delivery=settle(topic))
    assert producer.flush(PATIENCE_SECONDS) == 0
    return found


def began_transaction(bootstrap: str, security: Security, transactional_id: str) -> str:
    """Take a transactional id, which fences whoever has it."""
    producer = Producer(
        {
            **security,
            "bootstrap.servers": bootstrap,
            "log_level": 0,
            "transactional.id": transactional_id,
            "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
        }
    )
    try:
        producer.init_transactions(PATIENCE_SECONDS)
    except KafkaException as exc:
        return str(exc.args[0].name())
    return ""


def fetched(bootstrap: str, security: Security, topics: Iterable[str]) -> dict[str, str]:
    """Fetch the first partition of each topic."""
    request = FetchRequest(0, 0, 1_000_000, 0, [(topic, [(0, 0, 100_000)]) for topic in topics])
    answer = _ask(bootstrap, security, lambda client, node: client.send(node, request))
    return {topic: _name(partitions[0][1]) for topic, partitions in answer.topics}


def committed(bootstrap: str, security: Security, group: str, topic: str) -> str:
    """Commit an offset under the name of a group, as no member of it."""
    request = OffsetCommitRequest(group, -1, "", -1, [(topic, [(0, 1, "")])])
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        answer = _ask(bootstrap, security, lambda client, node: client.send(node, request))
        [(_, [(_, code)])] = answer.topics
        # A broker that has just begun to coordinate a group says so; that is no judgement.
        if _name(code) not in _PASSING or time.monotonic() > until:
            return _name(code)
        time.sleep(0.1)


def refused(attempt: Callable[[], Any]) -> str:
    """Return the name of the error that an administrative attempt ends with."""
    try:
        attempt()
    except KafkaException as exc:
        return str(exc.args[0].name())
    return ""


def _name(code: int) -> str:
    return "" if code == 0 else KafkaError(code).name()


def _ask(bootstrap: str, security: Security, send: Callable[[AIOKafkaClient, int], Awaitable[T]]) -> T:
    async def asking() -> T:
        client = AIOKafkaClient(bootstrap_servers=bootstrap, **_aiokafka(security))
        await client.bootstrap()
        try:
            [node] = [broker.nodeId for broker in client.cluster.brokers()]
            return await asyncio.wait_for(send(client, node), PATIENCE_SECONDS)
        finally:
            await client.close()

    return asyncio.run(asking())


def _aiokafka(security: Security) -> dict[str, str]:
    if not security:
        return {}
    return {
        "security_protocol": security["security.protocol"],
        "sasl_mechanism": security["sasl.mechanism"],
        "sasl_plain_username": security["sasl.username"],
        "sasl_plain_password": security["sasl.password"],
    }
