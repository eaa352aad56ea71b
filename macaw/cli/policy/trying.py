"""`macaw policy validate|test`: check and try policies in files before they are published."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from macaw.cli.terminal.options import AsJson
from macaw.cli.terminal.status import DONE, FAILED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from macaw.policies.cases import Played
    from macaw.policies.files import Finding


class Format(StrEnum):
    """The form in which findings are written."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"


Files = Annotated[
    list[Path],
    typer.Argument(help="JSON documents, or folders of *.json.", metavar="FILES", exists=True, readable=True),
]


def validate(
    files: Files,
    *,
    format_: Annotated[Format, typer.Option("--format", help="The form of the findings.")] = Format.TEXT,
    as_json: AsJson = False,
    organisation: Annotated[
        bool, typer.Option("--organisation", help="Check as signed by the organisation key.")
    ] = False,
) -> None:
    """Check policies as if all of them were published together; exit status 1 if the log would refuse one.

    Warnings (W_…) do not change the exit status.
    """
    from macaw.cli.terminal.output import show_json
    from macaw.policies.files import check_files, policy_paths
    from macaw.policies.sarif import sarif

    paths = policy_paths(files)
    _, findings = check_files(paths, organisation=organisation)
    refused = {one.file for one in findings if one.is_refusal}
    if format_ is Format.SARIF:
        show_json(sarif(findings), indent=2)
    elif as_json or format_ is Format.JSON:
        show_json({"files": len(paths), "refused": len(refused), "findings": list(map(_as_json, findings))}, indent=2)
    else:
        _tell(findings, len(paths), len(refused))
    raise typer.Exit(FAILED if refused else DONE)


def _as_json(one: Finding) -> dict[str, Any]:
    return {
        "file": str(one.file),
        "code": one.code,
        "pointer": one.pointer,
        "line": one.line,
        "column": one.column,
        "level": "refusal" if one.is_refusal else "warning",
        "sentence": one.sentence,
    }


def _tell(findings: Sequence[Finding], files: int, refused: int) -> None:
    from macaw.cli.terminal.output import say, show_table

    if findings:
        rows = [
            (f"{one.file}:{one.line}:{one.column}", one.code, one.pointer or "(document)", one.sentence)
            for one in findings
        ]
        show_table(("FILE", "CODE", "AT", "WHAT"), rows)
    warned = sum(not one.is_refusal for one in findings)
    what = f"{refused} of {files} would be refused" if refused else f"{files} could be published together"
    say(f"{what}; {warned} warnings")


Cases = Annotated[
    list[Path],
    typer.Argument(help="Case files, JSON Lines.", metavar="FILES", exists=True, dir_okay=False, readable=True),
]


def run_cases(
    cases: Cases,
    *,
    policies: Annotated[
        list[Path] | None,
        typer.Option("--policies", help="Policies in force for cases that name no set.", metavar="PATH", exists=True),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run case files: calls and publications with their expected outcomes; exit status 1 if one differs."""
    from macaw.cli.terminal.output import show_json
    from macaw.policies.cases import play_files

    played = play_files(cases, policies or ())
    failed = [one for one in played if not one.passed]
    if as_json:
        rows = [{"file": str(one.file), "id": one.case_id, "passed": one.passed, **_difference(one)} for one in played]
        show_json({"cases": len(played), "failed": len(failed), "results": rows}, indent=2)
    else:
        _tell_failed(failed, len(played))
    raise typer.Exit(FAILED if failed or not played else DONE)


def _difference(one: Played) -> dict[str, Any]:
    return {"expected": one.expected, "found": one.found, **({"at": one.at} if one.at else {})}


def _tell_failed(failed: Sequence[Played], count: int) -> None:
    from macaw.cli.terminal.output import say, show_table

    if failed:
        rows = [(one.file, one.case_id, _spelt(one.expected), _spelt(one.found), one.at) for one in failed]
        show_table(("FILE", "CASE", "EXPECTED", "FOUND", "DECIDED BY"), rows)
    say(f"{count} cases, {len(failed)} failed" if count else "no case in these files: nothing was tested")


def _spelt(answers: object) -> str:
    if isinstance(answers, list) and answers and isinstance(answers[0], list):
        return "; ".join(map(_spelt, answers))
    return " ".join(map(str, answers)) if isinstance(answers, list) else str(answers)
