"""Apache Kafka in a container: what tests take where a docker engine answers and no broker is named.

It listens on loopback only, with the settings of `streams.local.kafka`. An engine that cannot be used is told in one
line and never an error, unless this broker was asked for by name. `TESTCONTAINERS_RYUK_DISABLED=true` does without the
container that removes others when a run is killed.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

from streams.local.choose import BEST_FIRST, Broker, BrokerInfo, BrokerKind, BrokerStartError, choose_broker
from streams.local.info import BrokerUnavailableError
from streams.local.jars import KAFKA_VERSION
from streams.local.kafka import _FIXED, HEAP_MIB
from streams.local.probe import LOOPBACK, ask_capabilities, await_answer, find_free_port

NAME: Final = "docker"
IMAGE: Final = f"apache/kafka:{KAFKA_VERSION}"
CONTROLLER: Final = f"{LOOPBACK}:9093"  # inside the container
ENGINE: Final = "unix:///var/run/docker.sock"  # where nothing else is said
ENGINE_SECONDS: Final = 3.0
ANSWER_BYTES_MAX: Final = 200
CALL_SECONDS: Final = 30.0
"""The longest silence of an engine that has answered once; a pull is never silent for long."""
PULL_SECONDS_MAX: Final = 120.0  # below the time limit of a test, whose first one waits for it
ANSWER_SECONDS: Final = 60.0
REASON_CHARS_MAX: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerInfo(BrokerInfo):
    """Apache Kafka whose Java is in a container."""

    def __str__(self) -> str:
        return f"Apache Kafka {self.version} ({NAME})"


def choose_test_broker(
    data_dir: Path,
    *,
    prefer: str | None = None,
    kinds: Sequence[BrokerKind] = BEST_FIRST,
    environ: Mapping[str, str] = os.environ,
) -> tuple[Broker, str]:
    """Start the broker of a test run; with it comes why docker was passed over, if it was.

    The order is: the one that the environment names, docker, then the rest of `kinds`. `prefer` forces one by name.

    Raises:
        BrokerError: the chosen one does not start, or the one that is forced is not to be had.
    """
    if prefer != NAME and (prefer or environ.get("MACAW_BOOTSTRAP_SERVERS")):
        return choose_broker(data_dir, prefer=prefer, kinds=kinds, environ=environ), ""
    docker = DockerBroker()
    try:
        docker.start()
    except BrokerUnavailableError as error:
        if prefer:
            raise
        return choose_broker(data_dir, kinds=kinds, environ=environ), str(error)
    return docker, ""


class DockerBroker:
    """One KRaft node in a container, removed with its data by `stop()`."""

    def __init__(self, image: str = IMAGE) -> None:
        self._image = image
        self._container: Any = None  # untyped: testcontainers is imported when an engine is wanted
        self._info: ContainerInfo | None = None

    @property
    def info(self) -> BrokerInfo:
        """Describe the broker. Requires `start()`."""
        assert self._info is not None, "start the broker first"
        return self._info

    def start(self) -> BrokerInfo:
        """Run the container and wait for the broker in it.

        Raises:
            BrokerUnavailableError: no engine of this machine answers, or it cannot run the image.
            BrokerStartError: the container runs, and its broker does not answer.
        """
        port = find_free_port()
        try:
            with _unavailable(f"{self._image} does not run"):
                self._container = _prepare(self._image, port)
                self._container.start()
            self._info = self._await(f"{LOOPBACK}:{port}")
        except BaseException:
            self.stop()
            raise
        return self._info

    def stop(self) -> None:
        """Remove the container and its volumes, whatever state it is in."""
        from docker.errors import NotFound

        container, self._container, self._info = self._container, None, None
        if container is None:
            return
        with suppress(NotFound):  # somebody was faster
            container.stop()
        container.get_docker_client().client.close()

    def __enter__(self) -> Self:
        if self._info is None:
            self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _await(self, bootstrap: str) -> ContainerInfo:
        if not await_answer(bootstrap, seconds=ANSWER_SECONDS, is_alive=self._is_alive):
            raise BrokerStartError(
                f"the broker of {self._image} does not answer at {bootstrap}: {self._last_line()}; "
                f"MACAW_TEST_BROKER=kafka does without docker"
            )
        return ContainerInfo(
            bootstrap=bootstrap,
            kind=BrokerKind.KAFKA,
            version=self._image.rpartition(":")[2],
            capabilities=ask_capabilities(bootstrap),
        )

    def _is_alive(self) -> bool:
        from docker.errors import NotFound

        try:
            self._container.reload()
        except NotFound:
            return False
        return bool(self._container.status == "running")

    def _last_line(self) -> str:
        from docker.errors import NotFound

        try:
            told = b"".join(self._container.get_logs())
        except NotFound:
            return "it was removed"
        return _cut(told.decode("utf-8", "replace").strip().rpartition("\n")[2]) or "it said nothing"


def _prepare(image: str, port: int) -> Any:
    """Return the container, not started, on an engine that has what is needed. Raises BrokerUnavailableError."""
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.container import DockerContainer

    _need_engine()
    with _unavailable("the docker engine answers no more"):
        container = DockerContainer(image, docker_client_kw={"timeout": CALL_SECONDS})
    client = container.get_docker_client().client
    try:
        _need_image(client, container.image)
        if not testcontainers_config.ryuk_disabled:
            _need_image(client, testcontainers_config.ryuk_image, "; TESTCONTAINERS_RYUK_DISABLED=true does without it")
    except BaseException:
        client.close()
        raise
    container.env = {"CLUSTER_ID": "bWFjYXctdGVzdC1jbHVzdA", "KAFKA_HEAP_OPTS": f"-Xmx{HEAP_MIB}m", **_variables(port)}
    # The same port inside and outside, because the broker also talks to itself under the address that it advertises.
    container.ports = {f"{port}/tcp": (LOOPBACK, port)}
    return container


def _need_engine() -> None:
    """Ask the engine for a sign of life. Raises BrokerUnavailableError.

    Not by its own client: that leaves a socket open where nobody answers, and so fails a test that comes later.
    """
    from testcontainers.core.docker_client import get_docker_host

    address = urlsplit(get_docker_host() or ENGINE)
    # A port of another machine would have to be open to its network, and this broker asks nobody who they are.
    if address.scheme != "unix":
        raise BrokerUnavailableError(f"the docker engine at {address.netloc} is not on a socket of this machine")
    with _unavailable("no docker engine answers"), socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(ENGINE_SECONDS)
        asking.connect(address.path)
        asking.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
        with asking.makefile("rb") as answer:
            if b" 200 " not in (line := answer.readline(ANSWER_BYTES_MAX)):
                raise OSError(f"it says {line!r}")


def _need_image(client: Any, image: str, otherwise: str = "") -> None:
    """Pull the image unless it is here; `otherwise` says how to do without. Raises BrokerUnavailableError."""
    from docker.errors import ImageNotFound
    from docker.utils import parse_repository_tag

    with _unavailable(f"{image} is not here and cannot be pulled{otherwise}"):
        with suppress(ImageNotFound):
            client.images.get(image)
            return
        repository, tag = parse_repository_tag(image)
        until = time.monotonic() + PULL_SECONDS_MAX
        for step in client.api.pull(repository, tag or "latest", stream=True, decode=True):
            if "error" in step:
                raise OSError(step["error"])
            if time.monotonic() > until:
                raise OSError(f"it took more than {PULL_SECONDS_MAX:g} s, try `docker pull {image}`")


def _variables(port: int) -> dict[str, str]:
    """Return the broker's settings in the image's spelling."""
    settings = _FIXED | {
        "listeners": f"PLAINTEXT://:{port},CONTROLLER://{CONTROLLER}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
        "controller.quorum.voters": f"1@{CONTROLLER}",
        "log.dirs": "/var/lib/kafka/data",
    }
    return {
        f"KAFKA_{name.replace('_', '__').replace('-', '___').replace('.', '_').upper()}": value
        for name, value in settings.items()
    }


@contextmanager
def _unavailable(what: str) -> Iterator[None]:
    """Turn what an engine or the way to it may raise into one line. Raises BrokerUnavailableError."""
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    try:
        yield
    except (DockerException, RequestException, OSError) as error:
        raise BrokerUnavailableError(f"{what}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """Return what the engine said, or else the first cause: what lies between only says that something is wrong."""
    said = getattr(error, "explanation", None)
    while not said and (before := error.__cause__ or error.__context__):
        error = before
    return _cut(str(said or getattr(error, "strerror", None) or error))


def _cut(text: str) -> str:
    return " ".join(text.split())[:REASON_CHARS_MAX]
