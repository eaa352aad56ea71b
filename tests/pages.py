"""Reads the fenced blocks of a page, and plays them as a reader would type them.

A comment on the line before a block says what to do with it:

    <!-- save: FILE -->          the block is written to FILE
    <!-- stays -->               the block's last command goes on running until the page ends
    <!-- not run: REASON -->     the block is left out, and the page says why

Without a comment a `console` block is typed, and a `python` block is run. A `text` block right after a `python` block
is what the code prints; any other `text` block is a picture. A block of another language is a fault of the page.

A `console` block shows below each command what the command prints. In a line that begins with `{` every character
counts; in other lines numbers, digests and the width of blanks may differ. `…` stands for any text, and a line `…` for
any number of lines. A command without lines below it may print anything. Its exit status must be 0, unless the block
goes on with `echo $?` and another status.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Container, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.waiting import PATIENCE_SECONDS, wait_until

ROOT = Path(__file__).parents[1]

_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_VARIES = re.compile(r"\b[0-9a-f]{8,}\b|\d+")
_END = "--- the command has ended with"


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the line of the page on which it begins, and the comment before it."""

    language: str
    text: str
    line: int
    mark: str = ""

    def marked(self, word: str) -> str | None:
        """Return what follows `word:` in the comment, "" for the word alone, None for another comment."""
        found = re.fullmatch(rf"{word}(?:: (.+))?", self.mark)
        return None if found is None else found[1] or ""


@dataclass(frozen=True)
class Typed:
    """A command of a `console` block, and the lines that the page shows below it."""

    command: str
    shown: list[str] = field(default_factory=list)


def blocks_of(page: str) -> list[Block]:
    """Return the fenced blocks of a page's text, in order."""
    return [
        Block(found["language"], found["text"], page.count("\n", 0, found.start("language")) + 1, found["mark"] or "")
        for found in _BLOCK.finditer(page)
    ]


def typed_in(text: str) -> list[Typed]:
    """Return the commands of a `console` block. A command goes on below a line that ends with a backslash."""
    found: list[Typed] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append(Typed(line[2:]))
        elif found and found[-1].command.endswith("\\") and not found[-1].shown:
            found[-1] = Typed(f"{found[-1].command}\n{line}")
        else:
            found[-1].shown.append(line)
    return found


def is_shown(shown: list[str], printed: str, *, whole: bool = True) -> bool:
    """Return True if `printed` is what a page shows; unless `whole`, if it has the shown lines in this order."""
    exact = [line.rstrip() for line in printed.splitlines() if line.strip()]
    rest = r"(?:.*\n)*?"
    lines = [rest if line == "…" else _pattern(line) + r"\n" for line in shown if line.strip()]
    pattern = "".join(lines) if whole else rest + rest.join(lines) + rest
    return re.fullmatch(pattern, "".join(f"{_general(line)}\n" for line in exact)) is not None


def _general(line: str) -> str:
    return line if line.startswith("{") else re.sub(r" +", " ", _VARIES.sub("#", line))


def _pattern(line: str) -> str:
    return ".*".join(re.escape(part) for part in _general(line).split("…"))


class Shell:
    """One bash: variables and the working directory last from command to command."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, command: str) -> tuple[str, int]:
        """Run a command to its end; return what it wrote, and its exit status."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        after = f"status=$?; printf '\\n{_END} %s\\n' $status; (exit $status)"
        self.process.stdin.write(f"{{ {command}\n}} </dev/null\n{after}\n")
        self.process.stdin.flush()
        printed: list[str] = []
        alarm = threading.Timer(PATIENCE_SECONDS, self.close)
        alarm.start()
        try:
            for line in self.process.stdout:
                if line.startswith(_END):
                    return "".join(printed), int(line.removeprefix(_END))
                printed.append(line)
        finally:
            alarm.cancel()
        raise AssertionError(f"`{command}` has not ended within {PATIENCE_SECONDS} s; it printed:\n{''.join(printed)}")

    def close(self) -> None:
        """End the shell and all that it started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


class Reader(AbstractContextManager["Reader"]):
    """Somebody with a terminal in an empty folder, a copy of `examples/`, and the `macaw` of this checkout."""

    def __init__(self, folder: Path, *, root: Path = ROOT) -> None:
        self.folder, self.root = folder, root
        (folder / "examples").symlink_to(ROOT / "examples")
        commands = folder / ".commands"
        commands.mkdir()
        # With the path in it: a program that starts it may hand on nothing of its environment.
        run = f"PYTHONPATH={shlex.quote(str(ROOT))} exec {shlex.quote(sys.executable)} -m macaw.cli"
        (commands / "macaw").write_text(f'#!/bin/sh\n{run} "$@"\n')
        (commands / "macaw").chmod(0o755)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MACAW_")}
        path = f"{commands}:{Path(sys.executable).parent}:{kept['PATH']}"
        self.environ = kept | {"PATH": path, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        self.printed: list[str] = []
        self._stay = ExitStack()

    def __exit__(self, *_: object) -> None:
        self._stay.close()

    def play(self, page: Path, *, leaving: Container[str] = ()) -> int:
        """Play a page from its first block to its last; return how many blocks were typed, run or saved.

        Blocks of the languages in `leaving` are left to another test.
        """
        name, played, before = page.relative_to(self.root), 0, ""
        shell = Shell(self.folder, self.environ)
        try:
            for block in blocks_of(page.read_text("utf-8")):
                picture = block.language == "text" and before != "python"
                if block.marked("not run") is None and block.language not in leaving and not picture:
                    self._play(block, shell, f"{name}:{block.line}")
                    played += 1
                before = block.language
        finally:
            shell.close()
        return played

    def type(self, command: str) -> None:
        """Type one command that no page shows; it must end with 0."""
        shell = Shell(self.folder, self.environ)
        try:
            printed, status = shell.run(command)
        finally:
            shell.close()
        assert status == 0, printed

    def _play(self, block: Block, shell: Shell, place: str) -> None:
        saved = block.marked("save")
        if saved:
            (self.folder / saved).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / saved).write_text(block.text)
        elif block.language == "console":
            self._type(block, shell, place)
        elif block.language == "python":
            code = self.folder / ".commands" / "snippet.py"
            code.write_text(block.text)
            printed, status = shell.run(f"python {shlex.quote(str(code))}")
            assert status == 0, f"{place}: the code ended with {status}:\n{printed}"
            self.printed.append(printed)
        elif block.language == "text":
            assert is_shown(block.text.splitlines(), self.printed[-1]), f"{place}: printed was\n{self.printed[-1]}"
        else:
            raise AssertionError(f"{place}: nothing says what to do with a `{block.language}` block")

    def _type(self, block: Block, shell: Shell, place: str) -> None:
        commands = typed_in(block.text)
        stays = commands.pop() if block.marked("stays") is not None else None
        for at, one in enumerate(commands, 1):
            asked = at < len(commands) and commands[at].command == "echo $?"
            status = int(commands[at].shown[0]) if asked else 0
            printed, ended = shell.run(one.command)
            self.printed.append(printed)
            told = f"{place}: `{one.command}` ended with {ended} and printed\n{printed}"
            assert ended == status, told
            assert "Traceback" not in printed, told
            assert not one.shown or is_shown(one.shown, printed), told
        if stays is not None:
            folder = Path(shell.run("pwd")[0].strip())
            self._stay.enter_context(staying(stays, folder, self.environ, self.folder / ".commands", place))


@contextmanager
def staying(one: Typed, folder: Path, environ: dict[str, str], logs: Path, place: str) -> Iterator[None]:
    """Run a command until the block ends; begin the block when the command has printed what the page shows."""
    log = logs / f"{place.replace('/', '-')}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {one.command}"],
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:

        def told() -> str:
            return f"{place}: `{one.command}` has not shown its lines; it printed\n{log.read_text('utf-8')}"

        def is_ready() -> bool:
            assert process.poll() is None, told()
            return is_shown(one.shown, log.read_text("utf-8"), whole=False)

        wait_until(is_ready, told, pause=0.05)
        yield
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()
