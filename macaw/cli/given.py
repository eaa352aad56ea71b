"""Values on the command line: as they stand, from a file with `@FILE`, or from stdin with `-`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer


def text_of(given: str, hint: str) -> str:
    """Return the text that was given. Raises typer.BadParameter."""
    try:
        if given == "-":
            return sys.stdin.buffer.read().decode("utf-8")
        if given.startswith("@"):
            return Path(given[1:]).read_text("utf-8")
    except UnicodeDecodeError as exc:
        raise typer.BadParameter("want UTF-8", param_hint=hint) from exc
    except OSError as exc:
        raise typer.BadParameter(f"cannot read {given[1:]}: {exc.strerror}", param_hint=hint) from exc
    return given


def json_of(given: str, hint: str) -> Any:
    """Return the JSON value that was given, read as strictly as the log will. Raises typer.BadParameter."""
    from processors import jcs

    try:
        return jcs.parse_strict(text_of(given, hint).encode())
    except (jcs.MalformedJSONError, UnicodeEncodeError) as exc:
        cause = getattr(exc, "cause", "surrogate")
        raise typer.BadParameter(
            f"want one strict JSON value, a text in double quotes (found wrong: {cause})", param_hint=hint
        ) from exc


def object_of(given: str, hint: str) -> dict[str, Any]:
    """Return the JSON object that was given. Raises typer.BadParameter."""
    value = json_of(given, hint)
    if not isinstance(value, dict):
        raise typer.BadParameter("want a JSON object", param_hint=hint)
    return value


def confirmed(question: str) -> bool:
    """Ask a person at the terminal; everything but `y` or `yes` is a no."""
    print(question, end=" [y/N] ", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
