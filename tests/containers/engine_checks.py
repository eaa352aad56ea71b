"""What the tests' broker in a container does with an engine that is there. `make test-containers` names this file.

It is no `test_*.py`: a run without an engine would have to skip it, and a skip must not look like a pass.
"""

import pytest
from docker import from_env
from docker.models.containers import Container

from streams.local.choose import APACHE_KAFKA, BrokerInfo, BrokerUnavailableError
from tests.docker_broker import DockerBroker


def containers() -> list[Container]:
    client = from_env()
    try:
        return client.containers.list(all=True, filters={"label": "org.testcontainers"})
    finally:
        client.close()


def test_docker_is_chosen_and_says_so(broker: BrokerInfo) -> None:
    """It comes before the jars, is Apache Kafka, and everything may be claimed of it."""
    assert str(broker) == "Apache Kafka 4.3.1 (docker)"
    assert broker.capabilities == APACHE_KAFKA


def test_it_listens_on_loopback_only(broker: BrokerInfo) -> None:
    """No port of the container is open to a network."""
    [container] = containers()
    bound = [place for places in container.attrs["NetworkSettings"]["Ports"].values() for place in places or ()]

    assert broker.bootstrap.startswith("127.0.0.1:")
    assert {place["HostIp"] for place in bound} == {"127.0.0.1"}


def test_a_stopped_broker_leaves_nothing(broker: BrokerInfo) -> None:
    """Its container is gone, and stopping again is allowed; the other one goes on."""
    before = {container.id for container in containers()}
    second = DockerBroker()
    with second:
        assert second.info.bootstrap != broker.bootstrap
        assert len(containers()) == len(before) + 1

    second.stop()
    assert {container.id for container in containers()} == before


def test_an_image_that_cannot_be_had_is_one_line() -> None:
    """Nothing is left behind, and the reason is told."""
    before = len(containers())

    with pytest.raises(
        BrokerUnavailableError, match="macaw-test/nobody:1 is not here and cannot be pulled: "
    ) as raised:
        DockerBroker("macaw-test/nobody:1").start()
    assert "\n" not in str(raised.value)
    assert len(containers()) == before


def test_without_the_reapers_image_its_switch_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Testcontainers wants a second image, and can do without it."""
    monkeypatch.setattr("testcontainers.core.config.testcontainers_config._ryuk_disabled", False)
    monkeypatch.setattr("testcontainers.core.config.testcontainers_config.ryuk_image", "macaw-test/reaper:1")

    with pytest.raises(
        BrokerUnavailableError, match="cannot be pulled; TESTCONTAINERS_RYUK_DISABLED=true does without"
    ):
        DockerBroker().start()
