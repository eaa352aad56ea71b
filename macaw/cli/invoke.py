"""`macaw invoke`: ask for one operation as a registered agent, or come back to one that has not had its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from macaw.cli.terminal.options import Tenant

if TYPE_CHECKING:
    from producers.client import Asking, Client, WaitingCall

NAME = "invoke"

Timeout = Annotated[
    float,
    typer.Option(
        "--timeout",
        help="How long to wait for monitor and tool; a call that has not begun by then does not begin any more.",
        metavar="SECONDS",
        min=0.1,
    ),
]
Deadline = Annotated[
    float | None,
    typer.Option(
        "--deadline",
        help="So many seconds from now the call does not begin any more, also if people agree to it later.",
        metavar="SECONDS",
        min=0.001,
    ),
]
IdempotencyKey = Annotated[
    str | None,
    typer.Option(
        "--idempotency-key",
        help="Of all calls of this principal with one key at most one is executed within a day.",
        metavar="KEY",
    ),
]


def command(
    resource: Annotated[
        str | None, typer.Argument(help="What to call, as tool:APP/OPERATION; nothing with --resume.")
    ] = None,
    *,
    name: Annotated[
        str | None,
        typer.Option(
            "--as", help="Who asks: a registered agent, or user:NAME for a person with an open session.", metavar="NAME"
        ),
    ] = None,
    params: Annotated[
        str, typer.Option("--params", help="A JSON object; @FILE reads it from a file, - from stdin.", metavar="JSON")
    ] = "{}",
    timeout: Timeout = 100.0,
    deadline: Deadline = None,
    idempotency_key: IdempotencyKey = None,
    approval_timeout: Annotated[
        float | None,
        typer.Option(
            "--approval-timeout",
            help="How long to wait once people are asked; without it as long as the policy gives them.",
            metavar="SECONDS",
            min=0.0,
        ),
    ] = None,
    delegation: Annotated[
        str | None, typer.Option("--delegation", help="Act for whoever granted this delegation.", metavar="ID")
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Do not wait for people: print the event id for --resume.")
    ] = False,
    resume: Annotated[
        str | None, typer.Option("--resume", help="Fetch the result of a call, or wait on.", metavar="EVENT_ID")
    ] = None,
    tenant: Tenant = None,
) -> None:
    """Ask for one operation and print its result as JSON.

    A denial is told on stderr, with its reason code and exit status 1. Where people must approve the call it waits for
    them, and says so. A call that ends without its answer, by Ctrl-C too, can be fetched with --resume.
    """
    if resume is not None and resource is not None:
        raise typer.BadParameter("a call that is fetched says itself what it is: want none", param_hint="RESOURCE")
    if resume is None:
        if resource is None:
            raise typer.BadParameter("want what to call, or --resume EVENT_ID", param_hint="RESOURCE")
        if name is None:
            raise typer.BadParameter("want '--as' NAME, or --resume EVENT_ID", param_hint="--as")
        patience = _Patience(timeout, approval_timeout, detach)
        how: Asking = {"delegation": delegation, "deadline": deadline, "idempotency_key": idempotency_key}
        _ask(resource, _parameters(params), name, how, patience, tenant)
    elif detach:
        raise typer.BadParameter(
            "a call that waits is detached already: want --approval-timeout", param_hint="--detach"
        )
    elif deadline is not None or idempotency_key is not None:
        raise typer.BadParameter("what was asked stands: want neither --deadline nor --idempotency-key with --resume")
    else:
        _come_back(resume, timeout, approval_timeout, tenant)


class _Patience(NamedTuple):
    """How long to wait: for monitor and tool, and for people."""

    seconds: float
    approval_seconds: float | None
    detach: bool


def _ask(
    resource: str, parameters: dict[str, Any], name: str, how: Asking, patience: _Patience, tenant: str | None
) -> None:
    """Ask and show the result, or how to come back for it."""
    from macaw.cli.terminal.output import OutputError
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.speaking import open_client
    from macaw.cli.terminal.stopping import Interrupting

    home, folder = open_tenant(tenant)
    client = open_client(home, folder, name)
    try:
        with Interrupting(), client:
            _ask_as(client, resource, parameters, how, patience)
    except KeyboardInterrupt:
        for call in client.left:
            _tell_left(call)
        raise
    except (OutputError, BrokenPipeError):
        for call in client.left:
            _tell_kept(call.event_id)
        raise


def _ask_as(client: Client, resource: str, parameters: dict[str, Any], how: Asking, patience: _Patience) -> None:
    from macaw.cli.terminal.output import show, show_json
    from producers.client import WaitingCall, result_of

    if not patience.detach:
        client.finish(
            client.begin(resource, parameters, seconds=patience.seconds, **how),
            seconds=patience.seconds,
            approval_seconds=patience.approval_seconds,
            on_pending=_tell,
            give=_give,
        )
        return
    asked = client.start(resource, parameters, seconds=patience.seconds, **how)
    if isinstance(asked, WaitingCall):
        _tell(asked)
        show(asked.event_id)
    else:
        show_json(result_of(asked))


def _come_back(event_id: str, seconds: float, approval_seconds: float | None, tenant: str | None) -> None:
    """Show the result of a call that waited."""
    from macaw.cli.terminal.output import OutputError
    from macaw.cli.terminal.places import open_tenant
    from producers.client import Client

    home, folder = open_tenant(tenant)
    try:
        Client.resume(
            folder.tenant,
            event_id,
            home=home,
            seconds=seconds,
            approval_seconds=approval_seconds,
            on_pending=_tell,
            give=_give,
        )
    except (OutputError, BrokenPipeError):
        _tell_kept(event_id)
        raise


def _give(result: Any) -> None:
    """Show a result, to the last byte: what cannot be written must still be there to be fetched."""
    import sys

    from macaw.cli.terminal.output import show_json, writing

    show_json(result)
    with writing():
        sys.stdout.flush()


def _tell_kept(event_id: str) -> None:
    from macaw.cli.terminal.output import say

    say(f"the result is kept: `macaw invoke --resume {event_id}` shows it")


def _tell(call: WaitingCall) -> None:
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.rendering import time_of

    say(f"{call.resource} waits for an approval until {time_of(call.until or 0)}")
    say(f"`macaw approvals approve {call.event} --as user:NAME` shows it to an approver, and asks")
    say(f"`macaw invoke --resume {call.event_id}` fetches its result, should this command end before")


def _tell_left(call: WaitingCall) -> None:
    from macaw.cli.terminal.output import say

    say(
        f"{call.resource} may still run, or have run; `macaw invoke --resume {call.event_id}` fetches what became of it"
    )


def _parameters(given: str) -> dict[str, Any]:
    """Read the parameters as strictly as the log will."""
    from macaw.cli.terminal.given import object_of

    return object_of(given, "--params")
