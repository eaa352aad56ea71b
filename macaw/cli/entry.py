"""The first and last step of the program: every error becomes one sentence and an exit status, not a traceback."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

import typer

from macaw.cli.terminal.output import OutputError, complain, writing
from macaw.cli.terminal.status import DONE, FAILED, INTERRUPTED, NO_ENGINE


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status. `MACAW_DEBUG=1` shows tracebacks too."""
    from macaw.cli.app import build_app

    first = next(iter(sys.argv[1:] if argv is None else argv), "")
    try:
        status = build_app(first)(args=argv, prog_name="macaw", standalone_mode=False)
        with writing():
            sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except typer.TyperException as exc:
        return _usage(exc)
    except Exception as exc:  # noqa: BLE001 - the last place: every error becomes a sentence
        return _failure(exc)
    return status if isinstance(status, int) else DONE


def _usage(exc: typer.TyperException) -> int:
    context = getattr(exc, "ctx", None)
    command = context.command_path if context is not None else "macaw"
    message = exc.format_message().rstrip(".?")
    complain(f"{message[:1].lower()}{message[1:]}; `{command} --help` shows what it takes")
    return exc.exit_code


def _failure(exc: Exception) -> int:
    if os.environ.get("MACAW_DEBUG") == "1":
        traceback.print_exc()
    if isinstance(exc, BrokenPipeError | OutputError):
        # The output has no reader any more; the rest of the buffer must not fail at exit.
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - open until the process ends
    if not isinstance(exc, BrokenPipeError):
        from macaw.cli.terminal.errors import sentence

        complain(sentence(exc))
    return NO_ENGINE if getattr(exc, "code", None) == "ENGINE_MISSING" else FAILED
