"""The tree of commands."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

import typer

COMMANDS: Final = {
    "init": "setup.init.command",
    "doctor": "setup.doctor.command",
    "up": "up.command",
    "monitor": "monitor.command",
    "console": "console.command",
    "invoke": "invoke.command",
    "decide": "decide.command",
    "sessions": "sessions.command",
    "log": "log.command",
    "replay": "replay.command",
    "login": "identity.login.login",
    "whoami": "identity.login.whoami",
    "logout": "identity.login.logout",
    "demo": "demo.command",
    "verify": "verifiers.trying.command",
    "gateway": "gateway.command",
    "freeze": "policy.freezing.freeze",
    "unfreeze": "policy.freezing.unfreeze",
    "break-glass": "policy.freezing.break_glass",
}
"""Where each command without a noun is: a module of `macaw.cli`, and a name in it."""

NOUNS: Final = {
    "tenant": "tenant.app",
    "agent": "agent.app",
    "engine": "engine.app",
    "enrolment": "keys.enrolment.app",
    "policy": "policy.app",
    "tool": "tool.serving.app",
    "verifier": "verifiers.app",
    "observe": "policy.observing.app",
    "audit": "audit.app",
    "archive": "archive.app",
    "topic": "topic.app",
    "intake": "intake.app",
    "views": "views.app",
    "dev": "identity.dev.app",
    "approvals": "approvals.app",
    "approver": "approver.approver_app",
    "attester": "approver.attester_app",
    "context": "context.app",
    "delegation": "delegation.app",
    "session": "identity.session.app",
    "event": "event.app",
    "hook": "hook.app",
    "idp": "identity.idp.app",
    "bridge": "identity.bridge.app",
    "mcp": "mcp.app",
    "key": "keys.app",
    "admin": "keys.admin_app",
    "organisation": "keys.organisation_app",
    "root": "keys.root_app",
}
"""Where the commands of each noun are."""

# What follows `macaw demo` is the demo's own.
_CONTEXTS: Final = {"demo": {"allow_extra_args": True, "ignore_unknown_options": True}}


def build_app(first: str = "") -> typer.Typer:
    """Return the program; each command imports its needs when it runs.

    `first` is the first word that was typed. If it is a command or a noun, the program has no other: to describe all of
    them takes 0.1 s of CPU, more than most commands need.
    """
    app = typer.Typer(
        help="A trust layer for AI agents: every call is decided on a log that anyone can check.",
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,  # their tracebacks print the values of variables, keys included
    )
    app.callback()(_every_command_has_its_name)
    known = first in COMMANDS or first in NOUNS
    for name, place in COMMANDS.items():
        if name == first or not known:
            app.command(name, context_settings=_CONTEXTS.get(name))(_found(place))
    for name, place in NOUNS.items():
        if name == first or not known:
            app.add_typer(_found(place), name=name)
    return app


def _found(place: str) -> Any:
    module, _, name = place.rpartition(".")
    return getattr(import_module(f"macaw.cli.{module}"), name)


def _every_command_has_its_name() -> None:
    # Typer takes a program of one command for that command, unless it has a callback. This text is not shown.
    pass
