"""A monitor whose client library does not come back ends as a process, whatever its threads do."""

import subprocess
import sys
from pathlib import Path

from macaw.installation.tenancy import create_tenant
from producers.home.home import Home
from streams.local.choose import EmbeddedBroker

# The real command on a real broker; of the client only the one call never returns, as while a coordinator is away.
_STUCK = """
import sys, threading
import confluent_kafka
import streams.worker.loop, streams.worker.lanes
from macaw.cli import main

class Stuck(confluent_kafka.Producer):
    def send_offsets_to_transaction(self, *_):
        threading.Event().wait()

streams.worker.lanes.STUCK_SECONDS = 0.5
streams.worker.loop.Producer = Stuck
sys.exit(main(["monitor"]))
"""


def test_a_monitor_ends_although_a_thread_of_it_never_does(tmp_path: Path) -> None:
    """Its exit status is that of a failure, and one sentence says why: whoever supervises it starts another."""
    with EmbeddedBroker(tmp_path / "broker") as broker:
        configured = {"bootstrap": broker.info.bootstrap, "broker_kind": broker.info.kind.value}
        create_tenant(Home.create(tmp_path / "home", configured), "acme")

        ended = subprocess.run(
            [sys.executable, "-c", _STUCK],
            env={"MACAW_HOME": str(tmp_path / "home"), "PATH": ""},
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    assert ended.returncode == 1, ended.stderr
    assert "macaw.acme.intake: no commit within" in ended.stderr
    assert "Traceback" not in ended.stderr
