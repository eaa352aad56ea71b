"""One broker for the whole run, started by the first test that asks, and named at the end."""

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from streams.broker import BrokerInfo
from tests.docker_broker import choose_test_broker


@dataclass(slots=True)
class BrokerUse:
    """What the run has used, for the last line of its report."""

    info: BrokerInfo | None = None
    no_docker: str = ""
    skips: int = 0
    complaint: str = ""


USE = pytest.StashKey[BrokerUse]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[USE] = BrokerUse()


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


@pytest.fixture
def unique() -> str:
    """A prefix nobody else uses, for topics, tenants and transactional ids."""
    return f"t{secrets.token_hex(4)}"


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that promised a real broker and did without: a skip must not look like a pass."""
    if os.environ.get("MACAW_REQUIRE_REAL_BROKER") != "1":
        return
    use = session.config.stash[USE]
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = len(reporter.stats.get("skipped", ())) if reporter else use.skips
    if use.info and not use.info.is_real:
        use.complaint = f"MACAW_REQUIRE_REAL_BROKER=1, but the broker was {use.info}"
    elif skipped:
        use.complaint = f"MACAW_REQUIRE_REAL_BROKER=1, but {skipped} tests were skipped"
    if use.complaint and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    use = config.stash[USE]
    if use.info:
        terminalreporter.write_line(f"broker: {use.info}, {use.skips} skips")
    if use.no_docker:
        terminalreporter.write_line(f"docker was passed over: {use.no_docker}")
    if use.complaint:
        terminalreporter.write_line(use.complaint, red=True)
