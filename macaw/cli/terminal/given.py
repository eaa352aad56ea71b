"""Values on the command line: as they stand, from a file with `@FILE`, or from stdin with `-`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer

from producers.home.files import FileError, read_file

TEXT_BYTES_MAX = 4 * 1024 * 1024  # far above an event's bound, whose own check names the field


def text_of(given: str, hint: str) -> str:
    """Return the text of an option: as given, from a file, or from stdin. Raises typer.BadParameter."""
    try:
        if given == "-":
            text = sys.stdin.buffer.read(TEXT_BYTES_MAX + 1)
        elif given.startswith("@"):
            text = read_file(Path(given[1:]), TEXT_BYTES_MAX, may_be_pipe=True)
        else:
            return given
        if len(text) > TEXT_BYTES_MAX:
            raise typer.BadParameter(f"the text has more than {TEXT_BYTES_MAX} bytes", param_hint=hint)
        return text.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise typer.BadParameter("the text is not UTF-8", param_hint=hint) from exc
    except FileError as exc:
        raise typer.BadParameter(str(exc), param_hint=hint) from exc


def json_of(given: str, hint: str) -> Any:
    """Return the JSON value of an option, read as strictly as the log reads it. Raises typer.BadParameter."""
    from macaw.policies.json_places import sentence_of
    from processors.proof import jcs

    text = text_of(given, hint).encode("utf-8", "surrogateescape")
    try:
        return jcs.parse_strict(text)
    except jcs.MalformedJSONError as exc:
        raise typer.BadParameter(
            f"the value {sentence_of(text, exc)}; write one JSON value, a text in double quotes", param_hint=hint
        ) from exc


def object_of(given: str, hint: str) -> dict[str, Any]:
    """Return the JSON object of an option. Raises typer.BadParameter."""
    value = json_of(given, hint)
    if not isinstance(value, dict):
        raise typer.BadParameter('the value is not a JSON object, like {"amount": 5}', param_hint=hint)
    return value


def confirmed(question: str) -> bool:
    """Ask a person at the terminal. Return True for the answers `y` and `yes`, False for every other."""
    print(question, end=" [y/N] ", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
