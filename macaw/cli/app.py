"""The tree of commands."""

from __future__ import annotations

import typer

from macaw.cli import (
    agent,
    approvals,
    approver,
    archive,
    audit,
    context,
    decide,
    delegation,
    demo,
    dev,
    engine,
    event,
    idp,
    intake,
    invoke,
    keys,
    log,
    monitor,
    policy,
    replay,
    session,
    sessions,
    tenant,
    tool,
    topic,
    up,
    views,
)


def build_app() -> typer.Typer:
    """Return the program; each command imports its needs when it runs."""
    app = typer.Typer(
        help="A trust layer for AI agents: every call is decided on a log that anyone can check.",
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,  # their tracebacks print the values of variables, keys included
    )
    for module in (up, monitor, invoke, decide, sessions, log, replay):
        app.command(module.NAME)(module.command)
    app.command(demo.NAME, context_settings=demo.CONTEXT)(demo.command)
    for name, group in (
        ("tenant", tenant.app),
        ("agent", agent.app),
        ("engine", engine.app),
        ("enrolment", keys.enrolment.app),
        ("policy", policy.app),
        ("tool", tool.app),
        ("audit", audit.app),
        ("archive", archive.app),
        ("topic", topic.app),
        ("intake", intake.app),
        ("views", views.app),
        ("dev", dev.app),
        ("approvals", approvals.app),
        ("approver", approver.approver_app),
        ("attester", approver.attester_app),
        ("context", context.app),
        ("delegation", delegation.app),
        ("session", session.app),
        ("event", event.app),
        ("idp", idp.app),
        ("key", keys.app),
        ("admin", keys.admin_app),
        ("root", keys.root_app),
    ):
        app.add_typer(group, name=name)
    return app
