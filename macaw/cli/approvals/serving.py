"""`macaw approvals serve`: ask people in a channel about the calls that wait for a registered approver."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from macaw.cli.terminal.options import OptionsError, Tenant

if TYPE_CHECKING:
    from producers.home.home import TenantHome
    from streams.approvals.channels import Channel

LOOPBACK = "127.0.0.1"
SLACK, WEBHOOK = "slack", "webhook"
PREFIX = "approver:"


def command(
    *,
    name: Annotated[
        str, typer.Option("--as", help="The registered approver whose requests are asked about: approver:NAME.")
    ],
    channel: Annotated[str, typer.Option("--channel", help="The channel: slack or webhook.")],
    config: Annotated[
        Path, typer.Option("--config", help="The YAML file with the channel's section.", metavar="FILE")
    ] = Path("approvals.yaml"),
    host: Annotated[
        str, typer.Option("--host", help="With slack: the address to listen on.", metavar="ADDRESS")
    ] = LOOPBACK,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="With slack: the port; 0 takes a free one. [8484]")
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", help="With slack: the https://NAME that Slack calls.", metavar="URL")
    ] = None,
    tenant: Tenant = None,
) -> None:
    """Ask people about the calls that wait for an approver, in Slack or by a webhook, until Ctrl-C.

    In Slack people answer with buttons, and the approver's key signs in their words. A webhook only tells.
    """
    import logging

    from macaw.cli.terminal.output import log_to_stderr
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.stopping import Stopping
    from macaw.installation.locking import only_one
    from streams.approvals.posting import Poster
    from streams.approvals.process import ApprovalsProcess

    if channel not in {SLACK, WEBHOOK}:
        raise OptionsError("`--channel` is slack or webhook")
    if channel == WEBHOOK and (url is not None or host != LOOPBACK or port is not None):
        raise OptionsError("`--host`, `--port` and `--url` belong to slack: a webhook answers nothing")
    home, folder = open_tenant(tenant)
    log_to_stderr(logging.INFO)
    approver = _approver(folder, name)
    poster = Poster()
    asked = _channel(channel, config, poster, folder.tenant, approver)
    running = f"another process asks for {name} by {channel} already: stop it first"
    lock = folder.key_file("approver", approver).with_suffix(f".{channel}.lock")
    with only_one(lock, running), Stopping() as stopping:
        process = ApprovalsProcess(home, folder, approver, asked, channel)
        if channel == SLACK:
            process.door(host, DEFAULT_PORT if port is None else port, url)

        def stop() -> None:
            process.stop()
            poster.close()

        stopping.ask = stop
        if stopping.signal is None:
            process.run()
    raise typer.Exit(stopping.status)


DEFAULT_PORT = 8484


def _approver(folder: TenantHome, name: str) -> str:
    """Return the bare name of a registered approver with a key here. Raises CommandError."""
    from macaw.cli.terminal.errors import CommandError

    bare = name.removeprefix(PREFIX)
    if bare == name:
        raise CommandError("`--as` names a registered approver, as approver:slack: a person has a key of their own")
    if not folder.key_file("approver", bare).exists():
        raise CommandError(f"there is no approver of {name} in {folder.path}: run `macaw approver register`")
    return bare


def _channel(kind: str, config: Path, poster: object, tenant: str, approver: str) -> Channel:
    from streams.approvals.channels import SlackChannel, WebhookChannel
    from streams.approvals.posting import Poster
    from streams.approvals.settings import read_slack, read_webhook

    assert isinstance(poster, Poster)
    if kind == SLACK:
        return SlackChannel(read_slack(config), poster, tenant, approver)
    return WebhookChannel(read_webhook(config), poster, tenant, approver)
