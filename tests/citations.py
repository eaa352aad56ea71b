"""The finder of citations that lead nowhere: to files, decisions, sections and headings which the repository lacks.

A citation counts wherever it stands: in code, in docstrings and comments, in tests, pages and examples.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

FOLDERS = ("schemas", "processors", "producers", "streams", "macaw", "bench", "tests", "docs", "examples")
SUFFIXES = frozenset({".py", ".md", ".avsc", ".json", ".jsonl", ".yaml", ".yml", ".toml", ".sh"})
MADE = ("bench/out/",)  # written by a command, and not kept
LOCK = "package-lock.json"  # npm's
NUMBERED = ("mapl", "wire")  # pages of docs/ whose sections have numbers

_PATH = re.compile(rf"(?<![\w./-])((?:{'|'.join(FOLDERS)})/[\w./*-]+\.(?:py|md|avsc|jsonl?|ya?ml|sh))(?![\w/])")
_NAMED = re.compile(r"`([\w*-]+\.(?:py|md))`|(?<![\w./-])([A-Z]{3,}\.md)\b")  # a file whose folder is not said
_DECISION = re.compile(r"(?:\bADR |docs/adr/)(\d{4})\b")
_LINK = re.compile(r"\]\(([^()#:\s]*)#([^()\s]+)\)")
_DESIGN = re.compile(r"\bDESIGN\b")
_URL = re.compile(r"https?://[^\s)>\"']+")

_GAP = r"\s+(?:#\s+)?"  # between words, also where a comment goes on in the next line
_NUMBERS = rf"(\d{{1,2}}(?:(?:,|,? and|,? to){_GAP}\d{{1,2}})*)(?!\d)"
_PAGE = "|".join(NUMBERED)
_SECTION = re.compile(rf"docs/({_PAGE})\.md`?{_GAP}(?:sections?{_GAP})?{_NUMBERS}")
_SECTION_OF = re.compile(rf"\bsections?{_GAP}{_NUMBERS}{_GAP}of{_GAP}(?:\[|`|docs/)*({_PAGE})\.md")
_OWN_SECTION = re.compile(rf"(?:§|\b[Ss]ections?{_GAP}){_NUMBERS}")  # in the page itself


def texts(root: Path) -> Iterator[Path]:
    """Yield the files of a repository that people wrote."""
    yield from sorted(path for path in root.iterdir() if path.is_file() and path.suffix in {*SUFFIXES, ""})
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            place = path.relative_to(root).as_posix()
            made = place.startswith(MADE) or path.name == LOCK or "__pycache__" in path.parts
            if path.suffix in SUFFIXES and path.is_file() and not made:
                yield path


class Citations:
    """The citations of a repository, held against its files."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names = {path.name for path in texts(root)}
        self._sections = {page: _sections(root / "docs" / f"{page}.md") for page in NUMBERED}

    def broken(self, text: str, place: str) -> list[str]:
        """Return what a text cites and the repository lacks, each as `place:line: citation`.

        `place` is the path of the text's file in the repository.
        """
        text = _URL.sub(lambda url: " " * len(url[0]), text)
        found = [*self._files(text), *self._numbers(text, place), *self._headings(text, place)]
        return [f"{place}:{text.count(chr(10), 0, at) + 1}: {cited}" for at, cited in sorted(found)]

    def _files(self, text: str) -> Iterator[tuple[int, str]]:
        for one in _PATH.finditer(text):
            if not one[1].startswith(MADE) and not any(self._root.glob(one[1])):
                yield one.start(), one[1]
        for one in _NAMED.finditer(text):
            name = one[1] or one[2]
            if "*" not in name and name not in self._names:
                yield one.start(), name
        for one in _DECISION.finditer(text):
            if not any(self._root.glob(f"docs/adr/{one[1]}-*.md")):
                yield one.start(), f"ADR {one[1]}"
        for one in _DESIGN.finditer(text):
            yield one.start(), one[0]

    def _numbers(self, text: str, place: str) -> Iterator[tuple[int, str]]:
        cited = [(one.start(), one[1], one[2]) for one in _SECTION.finditer(text)]
        cited += [(one.start(), one[2], one[1]) for one in _SECTION_OF.finditer(text)]
        for page in NUMBERED:
            if place == f"docs/{page}.md":
                cited += [(one.start(), page, one[1]) for one in _OWN_SECTION.finditer(text)]
        for at, page, numbers in cited:
            for number in re.findall(r"\d+", numbers):
                if int(number) not in self._sections[page]:
                    yield at, f"docs/{page}.md {number}"

    def _headings(self, text: str, place: str) -> Iterator[tuple[int, str]]:
        if not place.endswith(".md"):
            return
        for one in _LINK.finditer(text):
            page = (self._root / place).parent / one[1]
            target = text if not one[1] else page.read_text("utf-8") if page.is_file() else ""
            if one[2] not in _anchors(target):
                yield one.start(), f"{one[1]}#{one[2]}"


def _sections(page: Path) -> set[int]:
    return {int(number) for number in re.findall(r"^## (\d+)\. ", page.read_text("utf-8"), re.MULTILINE)}


def _anchors(page: str) -> set[str]:
    """Return the names under which the headings of a page can be linked to."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
