"""What people and programs see: data on stdout, talk on stderr, and no control character of an agent's making.

A name, reason or result comes from whoever signed it. Written raw to a terminal it could move the cursor, hide a line
or retitle a window, so everything that is printed goes through `plain` or `plain_json`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from processors.policy.invisible import is_plain_text, shows_itself
from schemas.errors import UnavailableError


class OutputError(UnavailableError):
    """Standard output could not be written; the message says why. What the command had done by then is done."""

    def __init__(self, exc: OSError) -> None:
        super().__init__(
            f"the output could not be written: {exc.strerror or type(exc).__name__}; what the command did until then "
            "is done, so do not run it again for its output alone"
        )


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Tell a full disk from a failure of the command. Raises OutputError; a reader that left stays BrokenPipeError."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as exc:
        raise OutputError(exc) from exc


def plain(text: str) -> str:
    r"""Return `text` with every character escaped, as `\u…`, that people would not see for what it is.

    Control characters, line ends, bidi and zero width, variation selectors and other ignorable ones, empty glyphs.
    """
    if is_plain_text(text):
        return text
    return "".join(c if shows_itself(c) else c.encode("unicode_escape").decode("ascii") for c in text)


def plain_json(value: Any, *, indent: int | None = None) -> str:
    r"""Return JSON that a terminal may show: what people would not see for what it is stands as `\u…`."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return "".join(c if c == "\n" or shows_itself(c) else json.dumps(c)[1:-1] for c in text)


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
    """Tell people something on stderr."""
    print(plain(text), file=sys.stderr, flush=True)


def complain(sentence: str) -> None:
    """Tell people on stderr what went wrong, in one line."""
    with contextlib.suppress(OSError):  # there is nowhere left to say it, and the exit status says it too
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
    """Log lines without control characters: messages quote what agents sent."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line; a traceback keeps its own."""
        text = super().format(record)
        return "\n".join(map(plain, text.split("\n"))) if record.exc_info else plain(text)


OWN_PACKAGES = ("schemas", "processors", "streams", "producers", "macaw")


def log_to_stderr(level: int) -> None:
    """Send log lines to stderr: ours from `level`, those of libraries from WARNING."""
    handler = logging.StreamHandler()
    handler.setFormatter(PlainFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    for name in OWN_PACKAGES:
        logging.getLogger(name).setLevel(level)
