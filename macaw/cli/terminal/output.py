"""Output for people and programs: data on stdout, messages on stderr, control characters escaped.

A name, reason or result comes from its signer. Written raw to a terminal it could move the cursor, hide a line or
retitle a window, so everything that is printed goes through `plain` or `plain_json`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from processors.text.characters import is_plain_text
from schemas.errors import UnavailableError


class OutputError(UnavailableError):
    """Standard output could not be written; the message gives the cause. The command's effects until then stand."""

    def __init__(self, exc: OSError) -> None:
        super().__init__(
            f"the output could not be written: {exc.strerror or type(exc).__name__}; the command's effects "
            "stand, so do not run it again for its output alone"
        )


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Raise OutputError for a failed write, such as to a full disk; a reader that left stays BrokenPipeError."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as exc:
        raise OutputError(exc) from exc


def plain(text: str) -> str:
    r"""Return `text` with every hidden or misleading character escaped as `\u…`.

    These are control characters, line ends, bidi and zero width, variation selectors, other ignorable ones, and empty
    glyphs.
    """
    if is_plain_text(text):
        return text
    return "".join(c if is_plain_text(c) else c.encode("unicode_escape").decode("ascii") for c in text)


def plain_json(value: Any, *, indent: int | None = None) -> str:
    r"""Return JSON that is safe for a terminal: hidden and misleading characters stand as `\u…`."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return "".join(c if c == "\n" or is_plain_text(c) else json.dumps(c)[1:-1] for c in text)


def jsonable(value: Any) -> Any:
    """Return a record as JSON values: bytes as hex, nested records as objects."""
    if isinstance(value, bytes):
        return value.hex()
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: jsonable(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple | list):
        return [jsonable(item) for item in value]
    return value


def short(digest: bytes | None) -> str:
    """Return the first 4 bytes of a digest or id in hex: enough for people to tell one from another."""
    return digest[:4].hex() if digest else "-"


def say(text: str) -> None:
    """Write one line for people to stderr."""
    print(plain(text), file=sys.stderr, flush=True)


def complain(sentence: str) -> None:
    """Write an error to stderr, in one line."""
    with contextlib.suppress(OSError):  # stderr is gone as well; the exit status still tells
        print(f"macaw: {plain(sentence)}", file=sys.stderr, flush=True)


def show(line: str) -> None:
    """Write one line of data to stdout. Raises OutputError."""
    with writing():
        print(plain(line))


def show_json(value: Any, *, indent: int | None = None) -> None:
    """Write one JSON value to stdout. Raises OutputError."""
    with writing():
        print(plain_json(value, indent=indent))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows to stdout: a table in a terminal, whole lines of aligned columns elsewhere. Raises OutputError."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(str(cell))) for cell in row))
    with writing():
        if sys.stdout.isatty():
            Console().print(table)
            return
        console = Console(width=1000, color_system=None)
        with console.capture() as captured:
            console.print(table)
        for line in captured.get().splitlines():
            print(line.rstrip())


class PlainFormatter(logging.Formatter):
    """Log lines without control characters, since messages quote text from agents."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line; a traceback keeps its own."""
        text = super().format(record)
        return "\n".join(map(plain, text.split("\n"))) if record.exc_info else plain(text)


OWN_PACKAGES = ("schemas", "processors", "streams", "producers", "macaw", "macaw_client", "macaw_agent")


def log_to_stderr(level: int) -> None:
    """Send log lines to stderr: ours from `level`, those of libraries from WARNING."""
    handler = logging.StreamHandler()
    handler.setFormatter(PlainFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    for name in OWN_PACKAGES:
        logging.getLogger(name).setLevel(level)
