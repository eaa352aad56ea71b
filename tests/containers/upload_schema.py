"""Uploads a published schema to a registry over the API that Confluent's clients use, and reads it back by its id."""

import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

READY_SECONDS_MAX = 120.0
CALL_SECONDS = 10.0


def call(url: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/vnd.schemaregistry.v1+json"}
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=CALL_SECONDS) as answer:
        return json.load(answer)


def await_ready(base: str) -> None:
    until = time.monotonic() + READY_SECONDS_MAX
    while True:
        try:
            call(f"{base}/subjects")
        except (urllib.error.URLError, OSError, ValueError):
            if time.monotonic() > until:
                raise
            time.sleep(0.5)
        else:
            return


def main(address: str, folder: str) -> None:
    base = f"{address}/apis/ccompat/v7"
    await_ready(base)
    path = min(Path(folder).glob("*-macaw.v1.Decision.avsc"))
    schema = path.read_text("utf-8")
    registered = call(f"{base}/subjects/macaw.v1.Decision/versions", {"schema": schema})["id"]
    back = call(f"{base}/schemas/ids/{registered}")["schema"]
    assert json.loads(back) == json.loads(schema), back
    print(f"{path.name} is in the registry under id {registered}: {call(f'{base}/subjects')}")


if __name__ == "__main__":
    main(*sys.argv[1:])
