"""Metrics of the commands that serve: on by default, at a free port that `.macaw/metrics/NAME.json` names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from producers.home.home import Home
    from streams.metrics.families import Reading

SETTING, OFF = "metrics", "off"  # of config.json

MetricsPort = Annotated[
    int,
    typer.Option(
        "--metrics-port",
        min=0,
        max=65535,
        help='The port of /metrics on loopback; 0 picks a free one. `"metrics": "off"` in config.json turns it off.',
    ),
]

HostMetricsPort = Annotated[
    int | None,
    typer.Option(
        "--metrics-port",
        min=0,
        max=65535,
        help="Serve /metrics at this port of loopback; 0 picks a free one. [none]",
    ),
]


@contextmanager
def metered(home: Home, name: str, read: Callable[[], Iterable[Reading]], port: int) -> Iterator[None]:
    """Serve the metrics of a process while the block runs, unless the installation has turned them off.

    Raises:
        CommandError: the port is taken, or the token cannot be written.
    """
    from macaw.cli.terminal.errors import CommandError
    from macaw.installation.tokens import create_token
    from streams.metrics.serving import TOKEN_FILE, metrics_served

    if home.config.get(SETTING) == OFF:
        yield
        return
    token = home.path / TOKEN_FILE
    try:
        with suppress(FileExistsError):
            create_token(token)
    except OSError as exc:
        raise CommandError(
            f'cannot write {token}, the token of the metrics: {exc.strerror}; make room, or set "metrics": "off"'
        ) from exc
    with ExitStack() as opened:
        try:
            opened.enter_context(metrics_served(home.path, name, read, port))
        except OSError as exc:
            raise CommandError(
                f"the metrics cannot be served at port {port}: {exc.strerror}; give another --metrics-port"
            ) from exc
        yield
