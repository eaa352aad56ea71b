"""`macaw hook`: hooks of coding agents, and the local gate that they ask."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from macaw.cli.terminal.options import Tenant

app = typer.Typer(help="Hooks of coding agents: each tool use is a governed call.")

HOST = "coding-host"
SECONDS = 25
AgentName = Annotated[str, typer.Argument(help="The coding agent: claude-code or codex.", metavar="AGENT")]
Scope = Annotated[str, typer.Option("--scope", help="The settings to change: those of the user, or of this project.")]
Host = Annotated[str, typer.Option("--host", help="The service that offers the operations.", metavar="NAME")]


@app.command("install")
def install_hook(
    agent: AgentName,
    *,
    name: Annotated[str, typer.Option("--as", help="The registered agent whose calls these are.", metavar="NAME")],
    enforce: Annotated[
        bool,
        typer.Option("--enforce/--observe", help="A denial stops the tool use, or is only recorded."),
    ] = False,
    scope: Scope = "project",
    host: Host = HOST,
    seconds: Annotated[
        int, typer.Option("--seconds", min=2, max=500, help="The wait for a decision, people included.")
    ] = SECONDS,
    tenant: Tenant = None,
) -> None:
    """Write the hook into the settings of a coding agent; other entries stay as they are."""
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_folder
    from macaw.hooks.settings_files import HookEntry, install

    path = _settings(agent, scope)
    home, folder = open_folder(tenant)
    for one, more in ((name, ""), (host, " --service --offers 'tool:shell/*' --offers …")):
        if not folder.key_file("agent", one).exists():
            say(f"there is no key of {one} here yet: `macaw agent register {one}{more}` makes it")
    base = home.path.parent.absolute()
    entry = HookEntry(agent, enforce, name, host, folder.tenant, base, _socket(folder.path, host), seconds)
    mode = "enforces" if enforce else "observes"
    changed = install(path, entry)
    say(f"the hook {mode} in {path}" if changed else f"the hook {mode} in {path} already")
    if agent == "codex" and changed:
        say("Codex passes over this hook, and says nothing, until you have reviewed it: open /hooks there")
        if scope == "project":
            say("and until you trust the folder: Codex asks for that when you start it here")
        say("set `unified_exec_tty = false` below [features] of its config.toml: it writes to terminals without asking")


@app.command("uninstall")
def uninstall_hook(agent: AgentName, *, scope: Scope = "project") -> None:
    """Remove the hook from the settings of a coding agent; other entries stay as they are."""
    from macaw.cli.terminal.output import say
    from macaw.hooks.settings_files import uninstall

    path = _settings(agent, scope)
    say(f"the hook is removed from {path}" if uninstall(path) else f"there is no hook of ours in {path}")


@app.command("run", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run_hook(context: typer.Context) -> None:
    """Answer one tool use on standard input; the arguments are those that `install` writes."""
    from macaw.hooks import thin

    thin.main(context.args)


@app.command("serve")
def serve(
    *,
    host: Host = HOST,
    socket: Annotated[
        Path | None, typer.Option("--socket", help="The socket; without it, one in the tenant's folder.")
    ] = None,
    idle: Annotated[
        float, typer.Option("--idle", min=1, help="The end after so many seconds without a tool use.")
    ] = 1800.0,
    tenant: Tenant = None,
) -> None:
    """Serve the local gate that hooks ask. A hook starts it by itself."""
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_tenant
    from macaw.cli.terminal.stopping import Stopping
    from macaw.hooks.desk import Desk
    from macaw.hooks.serving import GateServer, listening, remove
    from macaw.installation.locking import LockedError, only_one

    home, folder = open_tenant(tenant)
    place = (socket or _socket(folder.path, host)).absolute()
    try:
        with only_one(place.with_suffix(".lock"), f"a gate is served at {place} already"), Stopping() as stopping:
            desk = Desk(home, folder, host)
            serving = GateServer(desk.answer, idle_seconds=idle)
            stopping.ask = serving.stop
            try:
                with listening(place) as listener:
                    say(f"the gate of {host} serves hooks at {place}")
                    serving.run(listener)
            finally:
                remove(place)
                desk.close()
    except LockedError as exc:
        say(str(exc))


@app.command("stop")
def stop(*, host: Host = HOST, tenant: Tenant = None) -> None:
    """Stop the local gate. The next tool use starts it again."""
    from macaw.cli.terminal.output import say
    from macaw.cli.terminal.places import open_folder
    from macaw.hooks.serving import ask_to_stop

    _, folder = open_folder(tenant)
    place = _socket(folder.path, host)
    say(f"the gate at {place} ends" if ask_to_stop(place) else f"no gate serves at {place}")


def _settings(agent: str, scope: str) -> Path:
    """Return the settings file. Raises BadParameter."""
    from macaw.hooks.settings_files import PLACES, settings_file

    agents, scopes = sorted({one for one, _ in PLACES}), sorted({one for _, one in PLACES})
    if agent not in agents:
        raise typer.BadParameter(f"got {agent[:40]!r}, want {' or '.join(agents)}", param_hint="AGENT")
    if scope not in scopes:
        raise typer.BadParameter(f"got {scope[:40]!r}, want {' or '.join(scopes)}", param_hint="--scope")
    return settings_file(agent, scope, project=Path.cwd())


def _socket(folder: Path, host: str) -> Path:
    from producers.home.home import file_name

    return folder.absolute() / "hooks" / f"{file_name(host)}.sock"
