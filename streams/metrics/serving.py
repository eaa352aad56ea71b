"""The endpoint `/metrics` of a process, on a thread of its own, and the file by which Prometheus finds it.

The endpoint listens on loopback and asks for the token in `.macaw/metrics.token`; all processes of an installation have
the same one, and it opens nothing else. While a process serves metrics, `.macaw/metrics/NAME.json` names its port, in
the form of Prometheus' file-based discovery:

    scrape_configs:
      - job_name: macaw
        authorization: {credentials_file: /srv/macaw/.macaw/metrics.token}
        file_sd_configs: [{files: [/srv/macaw/.macaw/metrics/*.json]}]
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from producers.home.files import FileError, read_secret_line, replace_private
from producers.home.home import HomeError, file_name
from streams.address import LOOPBACK
from streams.http import Endpoint, Front, HTTPRefusal, serve, server_of
from streams.metrics.exposition import Exposition, ReadMeters

log = logging.getLogger(__name__)

PATH = "/metrics"
TOKEN_FILE = "metrics.token"  # noqa: S105 - the name of a file
FOLDER = "metrics"
SCRAPES_MAX = 4  # at a time
JOIN_SECONDS = 5.0
TOKEN_BYTES_MAX = 1024


def metrics_front(read: ReadMeters, token_file: Path) -> Front:
    """Return the front of a process's metrics."""
    exposition = Exposition(read)

    async def metrics(request: Request) -> Response:
        try:
            body, media_type = await run_in_threadpool(exposition.encode, request.headers.get("accept", ""))
        except RuntimeError:  # a table grew while it was read, or the process is ending
            raise HTTPRefusal(
                HTTPStatus.SERVICE_UNAVAILABLE, "METRICS_MOVED", "the metrics changed while they were read", "ask again"
            ) from None
        return Response(body, media_type=media_type)

    def token(_: Request) -> str:
        try:
            return read_secret_line(token_file, TOKEN_BYTES_MAX)
        except FileError as exc:
            raise HomeError(f"no token for metrics: {exc}") from exc

    return Front(
        endpoints=[Endpoint(PATH, metrics)],
        token=token,
        token_place=f".macaw/{TOKEN_FILE}",
        health=lambda: {"ready": True},
        requests_max=SCRAPES_MAX,
    )


@contextmanager
def metrics_served(home: Path, name: str, read: ReadMeters, port: int = 0) -> Iterator[None]:
    """Serve the metrics of a process while the block runs. `home` is the folder `.macaw`; `port` 0 takes a free one.

    Requires the token's file. The process does not end with its metrics: a later failure is logged.

    Raises:
        OSError: the port is taken.
    """
    token_file = home / TOKEN_FILE
    found = home / FOLDER / f"{file_name(name)}.json"  # a principal's name may be a part of it
    with socket.create_server((LOOPBACK, port)) as listening:
        server = server_of(metrics_front(read, token_file))
        target = {"targets": [f"{LOOPBACK}:{listening.getsockname()[1]}"], "labels": {"process": name}}

        def tell() -> None:
            found.parent.mkdir(mode=0o700, exist_ok=True)
            replace_private(found, json.dumps([target]).encode() + b"\n")

        def run() -> None:
            try:
                asyncio.run(serve(server, listening, tell))
            except Exception:  # the process that is metered goes on without its metrics
                log.exception("the metrics of %s are not served any more", name)

        thread = threading.Thread(target=run, name="metrics", daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.should_exit = True
            thread.join(JOIN_SECONDS)
            found.unlink(missing_ok=True)
