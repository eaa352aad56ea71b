"""`macaw invoke`: call one operation as a registered agent, or fetch the answer to an earlier call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from macaw.cli.terminal.options import OptionsError, Tenant

if TYPE_CHECKING:
    from producers.client import Asking, Client, WaitingCall


Timeout = Annotated[
    float,
    typer.Option(
        "--timeout",
        help="The wait for monitor and tool; a call that has not begun by then never begins.",
        metavar="SECONDS",
        min=0.1,
    ),
]
Deadline = Annotated[
    float | None,
    typer.Option(
        "--deadline",
        help="The latest start of the call, in seconds from now, even if people approve it later.",
        metavar="SECONDS",
        min=0.001,
    ),
]
IdempotencyKey = Annotated[
    str | None,
    typer.Option(
        "--idempotency-key",
        help="A key of your choice: of all calls of a principal with one key, at most one is executed within a day.",
        metavar="KEY",
    ),
]


def command(
    resource: Annotated[
        str | None, typer.Argument(help="The operation, as tool:APP/OPERATION; omit it with --resume.")
    ] = None,
    *,
    name: Annotated[
        str | None,
        typer.Option("--as", help="The caller: a registered agent, or user:NAME with an open session.", metavar="NAME"),
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
            help="The wait for people and verifiers; without it, as long as they are given.",
            metavar="SECONDS",
            min=0.0,
        ),
    ] = None,
    delegation: Annotated[
        str | None, typer.Option("--delegation", help="Act under this delegation.", metavar="ID")
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Do not wait for people or verifiers; print the event id for --resume.")
    ] = False,
    resume: Annotated[
        str | None, typer.Option("--resume", help="Fetch the result of an earlier call.", metavar="EVENT_ID")
    ] = None,
    tenant: Tenant = None,
) -> None:
    """Call one operation and print its result as JSON.

    A denial goes to stderr, with its reason code and exit status 1. If people or verifiers must judge the call, the
    command says who, and waits. If it ends before the answer, also by Ctrl-C, --resume fetches the answer later.
    """
    if resume is not None and resource is not None:
        raise OptionsError("`--resume` takes no RESOURCE: the saved call already names it")
    if resume is None:
        if resource is None:
            raise OptionsError(
                "the RESOURCE is missing: name the operation as tool:APP/OPERATION, or give `--resume EVENT_ID`"
            )
        if name is None:
            raise OptionsError("`--as` is missing: name the caller with `--as NAME`, or give `--resume EVENT_ID`")
        patience = _Patience(timeout, approval_timeout, detach)
        how: Asking = {"delegation": delegation, "deadline": deadline, "idempotency_key": idempotency_key}
        _ask(resource, _parameters(params), name, how, patience, tenant)
    elif detach:
        raise OptionsError("`--detach` cannot be combined with `--resume`; to limit the wait use `--approval-timeout`")
    elif deadline is not None or idempotency_key is not None:
        raise OptionsError(
            "`--deadline` and `--idempotency-key` cannot be combined with `--resume`: the call is already sent"
        )
    else:
        _come_back(resume, timeout, approval_timeout, tenant)


class _Patience(NamedTuple):
    """The time-outs of a command, in seconds: for monitor and tool, and for people."""

    seconds: float
    approval_seconds: float | None
    detach: bool


def _ask(
    resource: str, parameters: dict[str, Any], name: str, how: Asking, patience: _Patience, tenant: str | None
) -> None:
    """Send the call and show its result, or the command that fetches it later."""
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
    """Show the result of an earlier call."""
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
    """Show a result and flush it. Raises OutputError: the caller then keeps the result for a later fetch."""
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

    say(f"{call.resource} waits for {call.awaited} until {time_of(call.until or 0)}")
    if not call.verifiers:
        say(f"`macaw approvals approve {call.event} --as user:NAME` shows it to an approver, and asks")
    say(f"`macaw invoke --resume {call.event_id}` fetches its result if this command ends first")


def _tell_left(call: WaitingCall) -> None:
    from macaw.cli.terminal.output import say

    say(f"{call.resource} may still run, or have run; `macaw invoke --resume {call.event_id}` fetches its outcome")


def _parameters(given: str) -> dict[str, Any]:
    """Return the parameters, read as strictly as the log reads them. Raises BadParameter."""
    from macaw.cli.terminal.given import object_of

    return object_of(given, "--params")
