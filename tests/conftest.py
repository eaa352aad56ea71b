"""One broker for each process of the run, started by the first test that asks, and named at the end."""

import logging
import os
import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from macaw.cli.terminal.output import OWN_PACKAGES
from macaw.installation.tenancy import register_enrolment
from producers.client import AsyncClient, Client
from producers.client.async_client import AsyncBoundClient
from producers.client.bound import BoundClient
from producers.client.calls import Calls
from producers.client.open_call import CallPatience
from producers.kafka.connection import Connection
from producers.kafka.followed_topic import FollowedTopic
from producers.kafka.logins import Logins
from producers.kafka.registry_view import RegistryView
from streams.local.choose import BrokerInfo
from streams.worker.monitor import tune_collector
from tests import secrets_seen
from tests.docker_broker import choose_test_broker
from tests.optional import skip_without, skip_without_provider, wants
from tests.secret_service import missing_programs, secret_service
from tests.softhsm import SoftHSM, find_softhsm
from tests.waiting import PATIENCE_SECONDS


@dataclass(slots=True)
class BrokerUse:
    """What the run has used, for the last line of its report."""

    info: BrokerInfo | None = None
    no_docker: str = ""
    skips: int = 0
    complaint: str = ""
    brokers: set[str] = field(default_factory=set)
    is_real: bool = True


USE = pytest.StashKey[BrokerUse]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[USE] = BrokerUse()
    secrets_seen.watch()
    config.pluginmanager.register(secrets_seen.SecretsWatch())
    # One process runs thousands of tests and keeps what they imported: looking at all of that again and again made
    # some of them take minutes. As a monitor does it, then.
    tune_collector()
    _wait_patiently()


def _wait_patiently() -> None:
    """Let the product's callers of this process wait as long for an answer as the tests do, where none says how long.

    The product's own times are those of a person at a terminal, on a machine that is not three test processes and
    three brokers busy. A test of a time that is over gives that time.
    """
    waits: tuple[Any, ...] = (
        *(Connection.ask, Connection.accepted, register_enrolment),
        *(FollowedTopic.refresh, RegistryView.refresh),
        *(Calls.start, BoundClient.start, AsyncClient.start, AsyncBoundClient.start),
        *(Client.login, Client.renew, Logins.open, Logins.renew),
    )
    for wait in waits:
        wait.__kwdefaults__["seconds"] = PATIENCE_SECONDS
    CallPatience.__init__.__kwdefaults__["seconds"] = PATIENCE_SECONDS


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerInfo]:
    """The best broker of this machine; MACAW_TEST_BROKER=environment|docker|kafka|embedded forces one."""
    prefer = os.environ.get("MACAW_TEST_BROKER")
    chosen, no_docker = choose_test_broker(tmp_path_factory.mktemp("broker"), prefer=prefer)
    use = request.config.stash[USE]
    with chosen as running:
        use.info, use.no_docker = running.info, no_docker
        yield running.info


@pytest.fixture(autouse=True)
def _real_broker(request: pytest.FixtureRequest) -> None:
    mark = request.node.get_closest_marker("real_broker")
    if mark is None:
        return
    (why,) = mark.args
    info = request.getfixturevalue("broker")
    if not info.is_real:
        request.config.stash[USE].skips += 1
        pytest.skip(f"needs Apache Kafka: {why}")


@pytest.fixture(autouse=True)
def _log_levels() -> Iterator[None]:
    """A command that runs in this process sets log levels as for its own process: they end with its test."""
    ours = [logging.getLogger(name) for name in OWN_PACKAGES]
    levels = [one.level for one in ours]
    yield
    for one, level in zip(ours, levels, strict=True):
        one.setLevel(level)


@pytest.fixture
def unique() -> str:
    """A prefix nobody else uses, for topics, tenants and transactional ids."""
    return f"t{secrets.token_hex(4)}"


@pytest.fixture
def softhsm(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SoftHSM:
    """A place for PKCS#11 tokens; the test is skipped where the package softhsm2 is not installed."""
    module = find_softhsm()
    if module is None:
        skip_without("SoftHSM", "apt-get install softhsm2")
    place = SoftHSM.make(tmp_path / "softhsm", module)
    for name, value in place.environment().items():
        monkeypatch.setenv(name, value)
    return place


@pytest.fixture
def keyring_service(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, str]]:
    """An unlocked keyring of the system; the test is skipped where GNOME's is not installed."""
    if missing := missing_programs():
        skip_without(" and ".join(missing), "apt-get install dbus gnome-keyring")
    import keyring
    from keyring.backends.SecretService import Keyring

    with secret_service(tmp_path / "keyring") as found:
        for name, value in found.items():
            monkeypatch.setenv(name, value)
        before = keyring.get_keyring()
        keyring.set_keyring(Keyring())  # the library looks once for a process
        yield found
        keyring.set_keyring(before)


@pytest.fixture(scope="session")
def keycloak_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One Keycloak for all processes of the run; the test is skipped where it cannot be had."""
    from tests.identity_providers.keycloak import shared_server
    from tests.identity_providers.keycloak_home import choose_home, why_no_keycloak

    if why := why_no_keycloak(choose_home()):
        skip_without_provider("Keycloak", why)
    mine = tmp_path_factory.getbasetemp()
    with shared_server(mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine) as server:
        yield server


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that need a broker: they are the long ones, and short ones fill the processes at the end."""
    with_broker = {item.path for item in items if item.get_closest_marker("broker") is not None}
    items.sort(key=lambda item: item.path not in with_broker)  # stable: a file stays together


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that promised a real broker and did without: a skip must not look like a pass."""
    use = session.config.stash[USE]
    if use.info:
        use.brokers.add(str(use.info))
        use.is_real = use.is_real and use.info.is_real
    told = getattr(session.config, "workeroutput", None)
    if told is not None:  # a process among several: whoever started it speaks for all
        told["brokers"], told["is_real"] = sorted(use.brokers), use.is_real
        told["skips"], told["no_docker"] = use.skips, use.no_docker
        return
    if os.environ.get("MACAW_REQUIRE_REAL_BROKER") != "1":
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    reports = reporter.stats.get("skipped", []) if reporter else []
    skipped = len(reports) - len(wants(reports)) if reporter else use.skips
    if not use.is_real:
        use.complaint = f"MACAW_REQUIRE_REAL_BROKER=1, but the broker was {', '.join(sorted(use.brokers))}"
    elif skipped:
        use.complaint = f"MACAW_REQUIRE_REAL_BROKER=1, but {skipped} tests were skipped"
    if use.complaint and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take over what a process of the run has used."""
    use, told = node.config.stash[USE], getattr(node, "workeroutput", {})
    use.brokers |= set(told.get("brokers", ()))
    use.is_real = use.is_real and told.get("is_real", True)
    use.skips += told.get("skips", 0)
    use.no_docker = use.no_docker or told.get("no_docker", "")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    use = config.stash[USE]
    if use.brokers:
        terminalreporter.write_line(f"broker: {', '.join(sorted(use.brokers))}, {use.skips} skips")
    for what, count in sorted(Counter(wants(terminalreporter.stats.get("skipped", []))).items()):
        terminalreporter.write_line(f"{count} skipped, not installed here: {what}")
    if use.no_docker:
        terminalreporter.write_line(f"docker was passed over: {use.no_docker}")
    if use.complaint:
        terminalreporter.write_line(use.complaint, red=True)
