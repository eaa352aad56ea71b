"""Three Apache Kafka nodes on loopback: what a restart or the death of one broker is judged on.

A lone node is its own controller and the only replica of everything, and loses markers of commits that it has answered
when it goes (`streams.local.kafka`). Here each partition has three replicas, of which two must have a record.
"""

from __future__ import annotations

import base64
import subprocess
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Self

from streams.local.info import BrokerInfo, BrokerStartError
from streams.local.kafka import FORMAT_SECONDS_MAX, KafkaBroker
from streams.local.probe import LOOPBACK, await_answer, find_free_port

NODES = 3
REPLICATED = {
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    # A dead node is to be noticed within the seconds that a round has.
    "broker.session.timeout.ms": "4000",
    "broker.heartbeat.interval.ms": "500",
}


class Node(KafkaBroker):
    """One node, broker and controller. `quorum` are the controllers' ports, in the order of the nodes' numbers."""

    def __init__(self, data_dir: Path, number: int, quorum: Sequence[int], cluster: str, settings: dict[str, str]):
        super().__init__(data_dir, find_free_port(), extra={**REPLICATED, **settings})
        self._number, self._quorum, self._cluster = number, quorum, cluster

    def launch(self) -> None:
        """Start the process; without others it answers nobody."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._acquire()
        self._check()
        self._spawn(self._command(self._port))

    def await_answer(self) -> None:
        """Wait for its first answer. Raises BrokerStartError if it ends, or stays silent."""
        bootstrap = f"{LOOPBACK}:{self._port}"
        if not await_answer(bootstrap, seconds=self.start_seconds, is_alive=lambda: self.is_running):
            raise BrokerStartError(f"node {self._number} does not answer: read {self.log_path}")
        self._has_answered = True
        self._info = self._answered(bootstrap)

    def _settings(self, port: int) -> dict[str, str]:
        voters = (f"{n}@{LOOPBACK}:{controller}" for n, controller in enumerate(self._quorum, start=1))
        own = f"PLAINTEXT://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{self._quorum[self._number - 1]}"
        mine = {"node.id": str(self._number), "controller.quorum.voters": ",".join(voters), "listeners": own}
        return super()._settings(port) | mine

    def _format(self) -> None:
        arguments = ("format", "-t", self._cluster, "-c", self._settings_path.name)
        command = self._run("kafka.tools.StorageTool", *arguments)
        try:
            subprocess.run(command, cwd=self.data_dir, capture_output=True, timeout=FORMAT_SECONDS_MAX, check=True)
        except subprocess.SubprocessError as error:
            raise BrokerStartError(f"node {self._number} could not be formatted: {error}") from error


class Cluster:
    """Three nodes for the length of a `with` block. Requires the main thread, like every broker here."""

    def __init__(self, data_dir: Path, settings: dict[str, str]) -> None:
        cluster = base64.urlsafe_b64encode(b"m" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
        quorum = [find_free_port() for _ in range(NODES)]
        self.nodes = [Node(data_dir / f"node-{n}", n, quorum, cluster, settings) for n in range(1, NODES + 1)]
        self._stack = ExitStack()

    @property
    def info(self) -> BrokerInfo:
        """Describe the whole: clients are told of every node."""
        each = [node.info for node in self.nodes]
        return replace(each[0], bootstrap=",".join(info.bootstrap for info in each))

    def __enter__(self) -> Self:
        with self._stack as stack:
            for node in self.nodes:
                stack.callback(end, node)
                node.launch()
            for node in self.nodes:
                node.await_answer()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def end(node: Node) -> None:
    """End a node whose data nobody needs: asked in peace, the last ones would wait for a quorum."""
    if node.is_running:
        node.kill()
    node.stop()
