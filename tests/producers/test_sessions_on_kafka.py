"""The sessions topic on a real broker: who reads it, and what a record there does to a host that runs."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError, Producer

from producers.client import Client
from producers.kafka import link
from producers.kafka.followed_topic import FollowedTopic
from producers.tools.host import ToolHost
from schemas.topics import KEYED_PARTITIONS, SESSIONS, keyed_partition
from streams.local.choose import BrokerInfo
from tests.installation import Installation, installed
from tests.producers.session_place import sessions_of
from tests.producers.workflow_bank import Bank, approving, furnish
from tests.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def here(broker: BrokerInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(broker, tmp_path_factory.mktemp("home"), f"b{secrets.token_hex(4)}", development=True) as running:
        furnish(running)
        yield running


@pytest.fixture(scope="module")
def host(here: Installation) -> Iterator[ToolHost]:
    with here.hosting("bank", Bank()) as running:
        yield running


@pytest.fixture
def followed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The topics that are followed from now on."""
    names: list[str] = []
    make = FollowedTopic.__init__

    def noting(self: FollowedTopic, bootstrap: str, topic: Any, *rest: Any, **more: Any) -> None:
        names.append(topic.name)
        make(self, bootstrap, topic, *rest, **more)

    monkeypatch.setattr(FollowedTopic, "__init__", noting)
    return names


def put(here: Installation, key: bytes, value: bytes | None, partition: int) -> list[KafkaError]:
    """Write to the sessions as a thief of the topic; return what the broker says against it."""
    said: list[KafkaError] = []
    producer = Producer({"bootstrap.servers": here.broker.bootstrap, "message.max.bytes": 20_000_000, "log_level": 0})
    name = SESSIONS.of(here.folder.tenant)
    producer.produce(name, value, key, partition, on_delivery=lambda e, _: said.append(e) if e else None)
    producer.flush(PATIENCE_SECONDS)
    return said


def test_a_client_reads_the_registry_alone(
    here: Installation, host: ToolHost, followed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It calls, approves, writes and reads values, and no session but its own is ever in its memory."""
    assert host.ready.wait(PATIENCE_SECONDS)
    monkeypatch.setattr(link, "_SHARED", link._Shared())  # the host has a link here already, which clients would share
    with (
        Client.connect(here.folder.tenant, "payer", home=here.home) as payer,
        Client.for_person(here.folder.tenant, "carol", home=here.home) as carol,
    ):
        payer.context_set("limit", 5, scope="team")
        assert payer.context_get("limit", scope="team") == 5
        assert payer.invoke("tool:bank/pay", {"amount": 900}, on_pending=approving(carol)) == {"paid": 900}

    assert set(followed) == {"registry"}


def test_a_host_follows_both_and_hears_of_an_end(here: Installation, host: ToolHost, followed: list[str]) -> None:
    """Also of one that another than the monitor wrote: the calls of that session are refused, nobody else's."""
    with (
        Client.connect(here.folder.tenant, "payer", home=here.home) as ended,
        Client.connect(here.folder.tenant, "payer", home=here.home) as other,
    ):
        assert ended.invoke("tool:bank/pay", {"amount": 1}) == {"paid": 1}
        session_id = ended._connection.key.kid
        assert not put(here, b"ended/" + session_id.hex().encode(), b"", (session_id[-1] + 1) % KEYED_PARTITIONS)
        host._sessions._topic._current_at = -math.inf
        refused = host.tally.refused.get("untrusted", 0)
        future = ended.submit("tool:bank/pay", {"amount": 2})

        assert other.invoke("tool:bank/pay", {"amount": 3}) == {"paid": 3}
        while host.tally.refused.get("untrusted", 0) == refused:
            assert other.invoke("tool:bank/pay", {"amount": 4}) == {"paid": 4}
        assert not future.done()
        with sessions_of(here, other) as view:
            assert view.is_ended(session_id)
            assert not view.is_ended(other._connection.key.kid)
    assert followed.count("sessions") == 1


def test_a_session_is_looked_up_on_its_partition(here: Installation) -> None:
    """By a host that has not seen it; one that nobody opened is not found."""
    with Client.connect(here.folder.tenant, "payer", home=here.home) as payer:
        kid = payer._connection.key.kid
        with sessions_of(here, payer) as view:
            found = view.that_signed(kid)
            assert found is not None
            assert (found.principal_id, found.revoked) == ("payer", False)
            assert view.that_signed(bytes(32)) is None


def test_the_broker_takes_no_10_mb_and_a_host_reads_past_what_it_takes(here: Installation) -> None:
    """The topic bounds what stands there; one record fills no small process."""
    key, partition = b"ended/" + bytes(32).hex().encode(), keyed_partition(bytes(32))
    assert [error.name() for error in put(here, key, bytes(10_000_000), partition)] == ["MSG_SIZE_TOO_LARGE"]
    assert not put(here, b"session/" + bytes(32).hex().encode(), bytes(4_000_000), partition)
    assert not put(here, key, None, partition)

    with Client.connect(here.folder.tenant, "payer", home=here.home) as payer, sessions_of(here, payer) as view:
        assert view.is_ended(bytes(32))
        assert view.that_signed(bytes(32)) is None
