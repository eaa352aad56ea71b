"""`macaw verifier`: register, list, revoke and serve verifiers that run outside the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from macaw.cli.agent import revoke
from macaw.cli.terminal.options import AsJson, Tenant

if TYPE_CHECKING:
    from macaw.installation.verifiers import ListedVerifier
    from macaw.security.verification.verifier import Verifier
    from producers.home.home import Home, TenantHome
    from schemas.events.verdicts import VerifierDeclaration

app = typer.Typer(
    help="Choose verifiers of texts; register and serve verifiers outside: their signed verdicts narrow calls."
)

Name = Annotated[str, typer.Argument(help="The verifier's name, for example sql-stamper.")]
Module = Annotated[
    str, typer.Argument(help="The verifier's module: a file.py or a dotted name, with :class if needed.")
]


@app.command("register")
def register(name: Name, module: Module, *, tenant: Tenant = None) -> None:
    """Register a verifier, or its new declaration, with the admin key, and keep its key on this machine."""
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.verifiers import register_verifier
    from macaw.security.verification.serving import declaration_of

    declared = declaration_of(_load(module))
    home, folder = open_tenant(tenant)
    register_verifier(home, folder, name, declared)
    kind = "required" if declared.required else "not required"
    say(
        f"{name} judges {_looks_at(declared)} of {', '.join(declared.resources)} in {folder.tenant}, {kind}; "
        f"policies read stamps.{declared.prefix}"
    )
    say(f"its key is {folder.key_file('verifier', name)}")


@app.command("list")
def list_verifiers(*, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """List the verifiers of a tenant in the order in which their verdicts count."""
    from macaw.cli.terminal.output import say, show_json, show_table
    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.verifiers import listed

    home, folder = open_tenant(tenant)
    found = listed(home, folder)
    if as_json:
        show_json([
            {
                "name": one.name,
                "prefix": one.declared.prefix,
                "priority": one.declared.priority,
                "required": one.declared.required,
                "surfaces": list(one.declared.surfaces),
                "resources": list(one.declared.resources),
                "stamps": {stamp.name: stamp.type for stamp in one.declared.stamps},
                "catalogue": one.declared.catalogue.hex(),
                "live_keys": one.live_keys,
            }
            for one in found
        ])  # fmt: skip
        return
    if found:
        columns = ("priority", "name", "stamps", "looks at", "required", "live keys", "resources")
        show_table(columns, [_row(one) for one in found])
    if not found:
        say(f"no verifier is registered in {folder.tenant}: `macaw verifier register NAME MODULE` registers one")


def _looks_at(declared: VerifierDeclaration) -> str:
    """Return the surfaces of a verifier for people."""
    return " and ".join(declared.surfaces)


def _row(one: ListedVerifier) -> tuple[object, ...]:
    declared = one.declared
    resources = ", ".join(declared.resources)
    required = "yes" if declared.required else "no"
    return declared.priority, one.name, declared.prefix, _looks_at(declared), required, one.live_keys, resources


app.command("revoke", help="Revoke every key of a verifier; its verdicts no longer count from then on.")(revoke)


@app.command("serve")
def serve(
    name: Name,
    module: Module,
    *,
    timeout: Annotated[float, typer.Option("--timeout", help="Of one judgement.", metavar="SECONDS", min=0.1)] = 10.0,
    tenant: Tenant = None,
) -> None:
    """Judge the calls and results that a registered verifier is shown, until Ctrl-C."""
    from macaw.cli.terminal.places import open_tenant

    verifier = _load(module)
    home, folder = open_tenant(tenant)
    raise typer.Exit(_host(home, folder, name, module, verifier, timeout))


def _host(home: Home, folder: TenantHome, name: str, module: str, verifier: Verifier, timeout: float) -> int:
    import logging

    from macaw.cli.terminal.output import log_to_stderr, say
    from macaw.cli.terminal.stopping import Stopping
    from macaw.installation.verifiers import served_key
    from macaw.security.verification.processes import START_SECONDS, JudgingProcesses
    from macaw.security.verification.serving import declaration_of, judge_in
    from producers.kafka.connection import Connection
    from producers.tools.verifier_host import WORKERS, VerifierHost, VerifierSettings

    declared = declaration_of(verifier)
    key = served_key(home, folder, name, declared)
    log_to_stderr(logging.INFO)
    limit = START_SECONDS + timeout + 1  # of a thread: its process ends first, and may have to start before
    settings = VerifierSettings(bootstrap=home.bootstrap, timeout_seconds=limit, security=home.security)
    judge = JudgingProcesses(judge_in, module, count=WORKERS, timeout_seconds=timeout)
    with Stopping(insist=True) as stopping, Connection(home, folder, key, name) as connection:
        host = VerifierHost(connection, declared, judge, settings)
        stopping.ask = host.stop
        if stopping.signal is not None:
            host.stop()
        say(f"{name} judges {', '.join(declared.resources)} in {folder.tenant}; Ctrl-C ends it")
        try:
            host.run()
        finally:
            judge.close()
    given, failed = sum(host.tally.given.values()), sum(host.tally.failed.values())
    say(f"{name} gave {given} verdicts, {failed} of them for a failure of its module")
    return stopping.status


def _load(module: str) -> Verifier:
    """Import the verifier. Raises CommandError for every failure of the module, which is a user's program."""
    from macaw.cli.terminal.importing import imported
    from macaw.security.verification.serving import verifier_in
    from schemas.errors import MacawError

    return imported(verifier_in, module, MacawError)
