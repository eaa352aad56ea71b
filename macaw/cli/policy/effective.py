"""`macaw policy effective`: the policies that apply to a subject, rule by rule with its source, and their sum."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from macaw.cli.terminal.options import AsJson, OptionsError, Tenant

if TYPE_CHECKING:
    from macaw.policies.asking import AskedAbout


def effective(
    *,
    session: Annotated[
        str | None, typer.Option("--session", help="An open session: its id, or its principal.", metavar="ID|NAME")
    ] = None,
    attributes: Annotated[
        str | None, typer.Option("--attributes", help="Attributes instead of a session, a JSON object.", metavar="JSON")
    ] = None,
    policies: Annotated[
        list[Path] | None,
        typer.Option(
            "--policies", help="With --attributes: policies from here, not the log.", metavar="PATH", exists=True
        ),
    ] = None,
    resource: Annotated[
        str | None, typer.Option("--resource", help="Add the policies of this resource.", metavar="NAME")
    ] = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Show the policies that apply to a subject, the rules of each, and their sum."""
    from macaw.cli.terminal.errors import CommandError
    from macaw.cli.terminal.output import show_json
    from processors.policy.errors import ResourceInvalidError
    from processors.policy.insight.effective import effective as what_applies
    from processors.policy.insight.explain import attributes_of

    standing = _standing(session, attributes, policies, tenant)
    try:
        told: dict[str, Any] = what_applies(standing.index, standing.subject, resource)
    except ResourceInvalidError as exc:
        raise CommandError(f"{resource!r} is not a resource name, such as tool:bank/transfer: {exc}") from exc
    head = {"who": standing.who, "attributes": attributes_of(standing.subject), "as_of": standing.as_of}
    if as_json:
        show_json({**head, "resource": resource, **told}, indent=2)
        return
    _tell(standing, told, resource)


def _standing(
    session: str | None, attributes: str | None, policies: list[Path] | None, tenant: str | None
) -> AskedAbout:
    if (session is None) == (attributes is None):
        raise OptionsError("the subject is missing: give either `--session`, or `--attributes` with `--policies`")
    if (attributes is None) != (policies is None):
        raise OptionsError("`--policies` and `--attributes` go together: give both, or `--session` alone")

    from macaw.policies.asking import AskedAbout, standing_of, subject_from

    if attributes is not None:
        from macaw.policies.files import index_of, read_documents

        return AskedAbout(
            "a subject with these attributes", subject_from(attributes), index_of(read_documents(policies or ())), None
        )

    from macaw.cli.terminal.places import open_tenant
    from macaw.installation.archives import archive_of
    from macaw.policies.history import live_history

    assert session is not None
    home, folder = open_tenant(tenant)
    with live_history(home, folder, archive_of(home, folder)) as history:
        return standing_of(history, session)


def _tell(standing: AskedAbout, told: dict[str, Any], resource: str | None) -> None:
    from macaw.cli.policy.words import attributes_in_words
    from macaw.cli.terminal.output import show
    from processors.policy.insight.explain import attributes_of

    as_of = "the policies of the files given" if standing.as_of is None else f"as of audit entry {standing.as_of}"
    show(f"{standing.who}: {attributes_in_words(attributes_of(standing.subject))}")
    show(as_of + (f", for calls of {resource}" if resource else "; --resource NAME adds the policies of a resource"))
    if "broken" in told:
        show(
            f"every call is denied (POLICY_BROKEN): {told['broken']} is missing, or its chain of `extends` is circular"
        )
    for one in told.get("alternatives", []):
        _tell_branch(one, len(told["alternatives"]))
    show("")
    show("Looked for and not found: " + (", ".join(told["absent"]) or "nothing"))


def _tell_branch(one: dict[str, Any], count: int) -> None:
    from macaw.cli.policy.words import merged_rows
    from macaw.cli.terminal.output import show, show_table

    show("")
    if count > 1:
        show(f"BY THE ROLE OF {one['branch']} (roles are alternatives: one that lets a call pass is enough)")
    if not one["policies"]:
        show("No policy applies: every call is denied (NO_POLICY).")
        return
    show("Every one of these policies must agree to a call:")
    show_table(
        ("LAYER", "POLICY", "FOUND", "", "DIGEST"),
        (
            (p["layer"], p["id"], _via(p["via"]), "may grant" if p["grants"] else "only restricts", p["sha256"][:16])
            for p in one["policies"]
        ),
    )
    show("")
    show("The rules of each:")
    rows = ((x["layer"], x["policy"], *_words_of(x), x["at"]) for x in one["lines"])
    show_table(("LAYER", "POLICY", "WHAT", "SAYS", "AT"), rows)
    show("")
    show("Together:")
    sources: dict[tuple[str, str], list[str]] = {}
    for line in one["lines"]:
        scope = line["scope"] if "parameter" in line["kind"] else ""
        sources.setdefault((line["kind"], scope), []).append(line["policy"])
    show_table(("WHAT", "SAYS", "FROM"), merged_rows(one["merged"], sources))
    if not any(
        p["grants"]
        for p in one["policies"]
        if any(x["kind"] == "resource" and x["policy"] == p["id"] for x in one["lines"])
    ):
        show("None of these may grant anything: a call passes only by a policy of its resource.")


def _words_of(line: dict[str, Any]) -> tuple[str, str]:
    from macaw.cli.policy.words import required_in_words

    if line["kind"] == "requires":
        return required_in_words(line["scope"], line["says"])
    return f"{line['kind']} {line['scope']}".strip(), line["says"]


def _via(via: str) -> str:
    return "extended" if via == "extends" else "by its id"
