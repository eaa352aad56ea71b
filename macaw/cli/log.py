"""`macaw log`: the records of a topic of the tenant, decoded."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from macaw.cli.terminal.options import AsJson, Tenant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from schemas.topics import Topic
    from streams.history.topics import TopicReader


def command(
    topic: Annotated[
        str, typer.Argument(help="The topic: intake, decisions, results, audit, registry, state or dead-letters.")
    ] = "audit",
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing new records until Ctrl-C.")] = False,
    from_start: Annotated[bool, typer.Option("--from-start", help="Begin with the oldest record kept.")] = False,
    count: Annotated[int, typer.Option("-n", min=0, help="The number of latest records to begin with.")] = 20,
    as_json: AsJson = False,
    tenant: Tenant = None,
) -> None:
    """Show the records of a topic, one per line. Payloads of calls and results stay sealed."""
    found = _topic(topic)

    from macaw.cli.terminal.output import show, show_json
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.rendering import Renderer
    from streams.history.topics import TopicReader

    home, folder = open_tenant(tenant)
    renderer = Renderer(folder.tenant, folder.genesis)

    def write(message: Any) -> None:
        if as_json:
            show_json(renderer.json(message))
        else:
            show(renderer.line(message))

    with TopicReader(home.bootstrap, found, folder.tenant, security=home.security) as reader:
        seen = _write_all(reader.all() if from_start else reader.last(count), write)
        if follow:
            _follow(reader, seen, write)


def _topic(name: str) -> Topic:
    from schemas.topics import TENANT_TOPICS

    for topic in TENANT_TOPICS:
        if topic.name == name:
            return topic
    raise typer.BadParameter(
        f"{name!r} is not a topic: want one of {', '.join(t.name for t in TENANT_TOPICS)}", param_hint="TOPIC"
    )


def _write_all(messages: Iterable[Any], write: Callable[[Any], None]) -> dict[int, int]:
    """Write records and return the next offset of each partition."""
    after: dict[int, int] = {}
    for message in messages:
        write(message)
        after[message.partition()] = message.offset() + 1
    return after


def _follow(reader: TopicReader, after: dict[int, int], write: Callable[[Any], None]) -> None:
    """Write each new record as it comes."""
    sys.stdout.flush()
    for message in reader.follow(after):
        if message is not None:
            write(message)
        else:
            sys.stdout.flush()
