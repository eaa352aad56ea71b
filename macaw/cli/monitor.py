"""`macaw monitor`: one worker of the trust path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from macaw.cli.terminal.metering import MetricsPort

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from producers.home.home import Home


TOPICS_SECONDS = 0.5  # the age that the list of tenants may have, on a broker without groups
METADATA_SECONDS = 5.0


def command(
    *,
    worker: Annotated[
        int, typer.Option("--worker", min=0, help="The worker's number, unique and stable over restarts.")
    ] = 0,
    metrics_port: MetricsPort = 0,
) -> None:
    """Run one worker of the trust path: verify, decide, write."""
    import logging
    import os
    from functools import partial

    from macaw.cli.terminal.errors import sentence
    from macaw.cli.terminal.metering import metered
    from macaw.cli.terminal.output import complain, log_to_stderr
    from macaw.cli.terminal.places import open_home, require_broker
    from macaw.cli.terminal.status import FAILED
    from macaw.cli.terminal.stopping import Stopping
    from macaw.installation.locking import only_one
    from macaw.installation.monitored import monitored
    from schemas.topics import MONITOR_TRANSACTIONS_PREFIX
    from streams.metrics.worker import readings_of_worker
    from streams.worker.lanes import WorkerStuckError
    from streams.worker.monitor import Monitor
    from streams.worker.settings import LoopSettings

    log_to_stderr(logging.INFO)
    home = open_home()
    require_broker(home)
    running = f"worker {worker} of this installation runs already: stop it, or give this one another --worker"
    with only_one(home.path / f"monitor-{worker}.lock", running), Stopping() as stopping:
        settings = LoopSettings(
            bootstrap=home.bootstrap,
            security=home.security,
            transactional_id=f"{MONITOR_TRANSACTIONS_PREFIX}{worker}",
            assigned=_assigned(home, worker),
        )
        monitor = Monitor(settings, lambda name: monitored(home, name))
        stopping.ask = monitor.stop
        if stopping.signal is None:
            try:
                with metered(home, f"monitor-{worker}", partial(readings_of_worker, monitor), metrics_port):
                    monitor.run()
            except WorkerStuckError as exc:
                # An orderly end would wait for a thread that does not come back.
                complain(sentence(exc))
                os._exit(FAILED)
    raise typer.Exit(stopping.status)


def _assigned(home: Home, worker: int) -> Callable[[], Iterable[str]] | None:
    """Return a function that lists the intake topics, for the embedded broker, which has no groups; else None.

    Raises:
        CommandError: the worker is not the only one, number 0, that the embedded broker serves.
    """
    from macaw.cli.terminal.errors import CommandError
    from macaw.cli.terminal.places import is_embedded

    if not is_embedded(home):
        return None
    if worker != 0:
        raise CommandError("the embedded broker serves worker 0 only: for more, set MACAW_BOOTSTRAP_SERVERS to a Kafka")
    return _listing(home)


def _listing(home: Home) -> Callable[[], Iterable[str]]:
    import re
    import time

    from confluent_kafka.admin import AdminClient

    from schemas.topics import INTAKE_PATTERN

    admin = AdminClient({**home.security, "bootstrap.servers": home.bootstrap, "log_level": 2})
    pattern = re.compile(INTAKE_PATTERN)
    found: list[str] = []
    asked = float("-inf")

    def intake_topics() -> Iterable[str]:
        # Called in every turn of the loop: the answer is kept for a moment.
        nonlocal found, asked
        if time.monotonic() - asked > TOPICS_SECONDS:
            found = [name for name in admin.list_topics(timeout=METADATA_SECONDS).topics if pattern.match(name)]
            asked = time.monotonic()
        return found

    return intake_topics
