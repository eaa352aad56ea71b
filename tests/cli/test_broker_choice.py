"""Which broker `macaw up` starts: the record in the home binds while there are tenants."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from macaw.installation.broker_choice import OtherBrokerError, start_broker
from producers.home.home import HomeError
from streams.local.choose import BrokerKind, BrokerUnavailableError, EmbeddedBroker


@pytest.fixture(autouse=True)
def no_kafka(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has neither the jars of Apache Kafka nor a Maven to fetch them, and whose user named no broker."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("MACAW_KAFKA_LIBS", str(tmp_path / "none"))
    monkeypatch.delenv("MACAW_BOOTSTRAP_SERVERS", raising=False)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a broker that others run."""
    with EmbeddedBroker(tmp_path_factory.mktemp("elsewhere")) as running:
        yield running.info.bootstrap


def made_with(base: Path, kind: str, *tenants: str, bootstrap: str = "127.0.0.1:1") -> Path:
    """Make the home of an installation as `macaw up` and `macaw tenant create` leave it."""
    home = base / ".macaw"
    for tenant in tenants:
        (home / "tenants" / tenant).mkdir(parents=True)
        (home / "tenants" / tenant / "genesis").write_text("00" * 32)
    (home / "broker" / kind).mkdir(parents=True, exist_ok=True)
    (home / "config.json").write_text(json.dumps({"broker_kind": kind, "bootstrap": bootstrap}))
    return base


def started(base: Path, named: BrokerKind | None = None) -> tuple[BrokerKind, str, list[str]]:
    """Return kind and address of the broker that is started, and what the user is told."""
    said: list[str] = []
    with start_broker(base, named, discard=False, say=said.append) as broker:
        return broker.info.kind, broker.info.bootstrap, said


def test_a_new_folder_gets_the_best_broker_of_the_machine(tmp_path: Path) -> None:
    kind, _, said = started(tmp_path)

    assert kind is BrokerKind.EMBEDDED
    assert [line.partition(":")[0] for line in said] == [
        "using the embedded broker, because Apache Kafka is not available here"
    ]


def test_a_broker_that_is_asked_for_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(BrokerUnavailableError, match="install Maven"):
        started(tmp_path, BrokerKind.KAFKA)


def test_an_installation_of_an_earlier_release_keeps_the_embedded_broker(tmp_path: Path) -> None:
    """Nothing is said, since nothing changed; the port is the one that agents know."""
    address = started(tmp_path)[1]

    assert started(made_with(tmp_path, "embedded", "acme", bootstrap=address)) == (BrokerKind.EMBEDDED, address, [])


def test_a_log_on_kafka_is_not_looked_for_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(OtherBrokerError, match=r"log of this installation is on Apache Kafka.*install Maven"):
        started(made_with(tmp_path, "kafka", "acme"))

    assert not (tmp_path / ".macaw" / "broker" / "embedded").exists()


@pytest.mark.parametrize(("kind", "named"), [("embedded", "kafka"), ("kafka", "embedded"), ("environment", "embedded")])
def test_another_broker_is_refused_while_there_are_tenants(tmp_path: Path, kind: str, named: str) -> None:
    with pytest.raises(OtherBrokerError, match=r"the logs of acme, zeta are on .*--broker names another one"):
        started(made_with(tmp_path, kind, "acme", "zeta"), BrokerKind(named))


def test_the_environment_does_not_move_a_log_either(
    tmp_path: Path, elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MACAW_BOOTSTRAP_SERVERS", elsewhere)

    with pytest.raises(OtherBrokerError, match="on the embedded broker, and MACAW_BOOTSTRAP_SERVERS names another one"):
        started(made_with(tmp_path, "embedded", "acme"))


def test_without_tenants_the_broker_may_change(tmp_path: Path, elsewhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no log yet that could be lost."""
    made_with(tmp_path, "kafka")

    assert started(tmp_path, BrokerKind.EMBEDDED)[0] is BrokerKind.EMBEDDED
    monkeypatch.setenv("MACAW_BOOTSTRAP_SERVERS", elsewhere)
    assert started(tmp_path)[:2] == (BrokerKind.ENVIRONMENT, elsewhere)


def test_a_broker_of_others_is_found_again_without_the_environment(tmp_path: Path, elsewhere: str) -> None:
    """Every other command finds it in config.json, too."""
    made_with(tmp_path, "environment", "acme", bootstrap=elsewhere)

    assert started(tmp_path)[:2] == (BrokerKind.ENVIRONMENT, elsewhere)


def test_a_kind_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HomeError, match="`broker_kind` is 'rabbit'"):
        started(made_with(tmp_path, "rabbit", "acme"))


@pytest.mark.parametrize("kind", ["embedded", "kafka"])
def test_no_empty_broker_takes_the_place_of_a_log_that_is_not_here(tmp_path: Path, kind: str) -> None:
    """As in a copy of the home without its broker, or on the machine that an enrolment key was made for."""
    made_with(tmp_path, kind, "acme")
    (tmp_path / ".macaw" / "broker" / kind).rmdir()

    with pytest.raises(OtherBrokerError, match=rf"the logs of acme are not in .*/\.macaw/broker/{kind}"):
        started(tmp_path)


def test_brokers_that_only_the_configuration_names_are_kept(tmp_path: Path, elsewhere: str) -> None:
    """The file was written by hand: a broker of this machine has no log, and its address would replace theirs."""
    made_with(tmp_path, "environment", "acme")
    (tmp_path / ".macaw" / "config.json").write_text(json.dumps({"bootstrap": elsewhere}))

    assert started(tmp_path)[:2] == (BrokerKind.ENVIRONMENT, elsewhere)
