"""The options of `macaw tool serve` that a tool's owner guards it with: masking, a policy file, and schemas."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from macaw.cli.terminal.errors import CommandError

if TYPE_CHECKING:
    from macaw.policies.files import Read
    from processors.policy.documents import PolicyDocument
    from producers.tools import ToolFunction
    from producers.tools.declared_schemas import DeclaredSchemas
    from producers.tools.guard import HostGuard
    from producers.tools.owner_policy import OwnerPolicy, OwnerPolicyError
    from producers.tools.result_masking import Detector, ResultMasking

KINDS = ("secrets", "personal")
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


class GuardError(CommandError):
    """A guard of a tool cannot be set up, so nothing is served."""


def guard_of(
    app: str,
    tenant: str,
    tools: Sequence[ToolFunction],
    *,
    mask: str | None,
    policies: Sequence[Path],
    check_schemas: bool,
) -> HostGuard:
    """Return the guard that the options ask for.

    Raises:
        GuardError: a file is refused or may be written by others, or packages are missing.
        PolicyFilesError: a file cannot be read, or is not a policy; the message has its line.
        typer.BadParameter: a kind is unknown.
    """
    from producers.tools.guard import HostGuard

    resources = [f"tool:{app}/{one.name}" for one in tools]
    return HostGuard(
        policy=_owner_policy(policies, app, tenant, resources) if policies else None,
        schemas=_schemas(app, tools) if check_schemas else None,
        masking=None if mask is None else _masking(mask),
    )


# ---- the owner's policy


def _owner_policy(files: Sequence[Path], app: str, tenant: str, resources: Sequence[str]) -> OwnerPolicy:
    from macaw.policies.files import read_documents
    from producers.tools.owner_policy import OwnerPolicy, OwnerPolicyError

    for file in files:
        _check_owned(file)
    read = read_documents(files)
    documents: list[PolicyDocument] = [one.document for one in read]
    try:
        return OwnerPolicy(documents, app=app, tenant=tenant, resources=resources)
    except OwnerPolicyError as exc:
        raise GuardError(_placed(read[exc.at], exc)) from exc


def _placed(read: Read, exc: OwnerPolicyError) -> str:
    from macaw.policies.json_places import place_of

    place = place_of(read.text.encode(), exc.pointer)
    return f"{read.file} is refused{f' in {place}' if place else ''}: {exc.why}"


def _check_owned(file: Path) -> None:
    """Check that only its owner can change a file, or put another in its place. Raises GuardError."""
    found = file.resolve()
    folders = {file.absolute().parent, found.parent}  # of a link, and of the file that it leads to
    try:
        mode = found.stat().st_mode
        open_folders = [one for one in sorted(folders) if _may_be_replaced_in(one.stat().st_mode)]
    except OSError as exc:
        raise GuardError(f"cannot read {file}: {exc.strerror}") from exc
    if not stat.S_ISREG(mode):
        raise GuardError(f"{file} is not a regular file: name each policy file of the tool's owner")
    if mode & _OTHERS_MAY_WRITE:
        raise GuardError(f"others may write {file}, and so decide for the tool's owner: run `chmod go-w {file}`")
    for one in open_folders:
        raise GuardError(f"others may replace {file}, because they may write its folder: run `chmod go-w {one}`")


def _may_be_replaced_in(mode: int) -> bool:
    """Return whether others may put another file in the place of one in a folder of this mode."""
    return bool(mode & _OTHERS_MAY_WRITE) and not mode & stat.S_ISVTX


# ---- masking


def _masking(kinds: str) -> ResultMasking:
    from processors.content.loading import load
    from producers.tools.result_masking import ResultMasking

    asked = [one.strip() for one in kinds.split(",")]
    if not set(asked) <= set(KINDS):
        raise typer.BadParameter(
            f"got {kinds[:80]!r}, want {' or '.join(KINDS)}, or both with a comma", param_hint="--mask"
        )
    detectors = [_detector(one) for one in KINDS if one in asked]
    for find in detectors:
        try:
            load(find)  # now: else the first result would wait for it
        except ImportError as exc:
            raise _missing("--mask", exc) from exc
    return ResultMasking(detectors)


def _detector(kind: str) -> Detector:
    try:
        if kind == "secrets":
            from processors.content import secret_tokens

            return secret_tokens.find
        from processors.content import personal
    except ImportError as exc:
        raise _missing("--mask", exc) from exc
    return personal.find


def _missing(option: str, exc: ImportError) -> GuardError:
    what = exc.name or exc
    return GuardError(f"{option} needs the server ({what} is missing): run `pip install 'macaw-streams[server]'`")


# ---- schemas


def _schemas(app: str, tools: Sequence[ToolFunction]) -> DeclaredSchemas:
    from producers.tools.declared_schemas import DeclaredSchemas, OperationSchemas
    from producers.tools.registration import declared_by

    try:
        from processors.content.parameter_schemas import SchemaRefusedError, compiled
    except ImportError as exc:
        raise _missing("--check-schemas", exc) from exc
    found: dict[str, OperationSchemas] = {}
    for one in declared_by(app, tools):
        given = (one.input_schema, one.output_schema)
        try:
            judges = [None if text is None else compiled(text) for text in given]
        except SchemaRefusedError as exc:
            raise GuardError(f"a schema of {one.resource} is refused: {exc}") from exc
        if any(judges):
            found[one.resource] = OperationSchemas(*judges)
    if not found:
        raise GuardError(f"--check-schemas has nothing to check: no operation of {app} declares a schema")
    return DeclaredSchemas(found)
