"""`macaw topic`: which topics a tenant has, and who may read and write them."""

from __future__ import annotations

from typing import Annotated

import typer

from macaw.cli.options import AsJson

app = typer.Typer(help="Plan topics and their access rules.")

DAY_MS = 24 * 3600 * 1000


@app.callback()
def _group() -> None:
    """Keep `plan` a command of its own: Typer would fold a lone command into its group."""


@app.command("plan")
def plan(
    *,
    tenant: Annotated[str, typer.Option("--tenant", "-t", help="The tenant to name.", metavar="ID")] = "<tenant>",
    as_json: AsJson = False,
) -> None:
    """Show each topic of a tenant with its settings, and the roles that write and read it."""
    from macaw.cli.output import show_json, show_table
    from schemas.topics import OPS_TOPICS, TENANT_TOPICS, Topic, is_tenant_id

    if tenant != "<tenant>" and not is_tenant_id(tenant):
        raise typer.BadParameter(f"{tenant!r} is no tenant id: want [a-z][a-z0-9-]{{1,39}}", param_hint="--tenant")
    topics: tuple[Topic, ...] = (*TENANT_TOPICS, *OPS_TOPICS)
    if as_json:
        rows = [
            {
                "topic": t.of(tenant),
                "holds": t.holds,
                "partitions": t.partitions,
                "config": t.config(),
                "writers": list(t.writers),
                "readers": list(t.readers),
            }
            for t in topics
        ]
        show_json(rows, indent=2)
        return
    show_table(
        ("TOPIC", "PARTITIONS", "KEEPS", "WRITE", "READ"),
        (
            (
                t.of(tenant),
                t.partitions,
                _keeps(t.retention_ms, compacted=t.compacted),
                _join(t.writers),
                _join(t.readers),
            )
            for t in topics
        ),
    )


def _join(roles: tuple[str, ...]) -> str:
    return " ".join(roles)


def _keeps(retention_ms: int, *, compacted: bool) -> str:
    if compacted:
        return "last per key"
    return "for ever" if retention_ms < 0 else f"{retention_ms // DAY_MS} days"
