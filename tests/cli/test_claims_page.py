"""`docs/claims.md`: its files and commands are played, and its tables are those of the code."""

from __future__ import annotations

from pathlib import Path

from processors.identity.claims.built_in import BUILT_IN
from processors.identity.claims.conditions import ClaimComparison
from processors.identity.claims.errors import MappingCode
from processors.identity.claims.model import SUBJECT, ProviderMapping
from processors.identity.claims.transforms import TransformKind
from streams.identity_files.claims_file import PATHS, parse_claims
from streams.identity_files.lined import LinedError
from tests.pages import ROOT, Reader, blocks_of

PAGE = ROOT / "docs" / "claims.md"
TEXT = PAGE.read_text("utf-8")
COLUMNS = ("company", "business_unit", "team", "user", "email", "roles", SUBJECT)


def table_after(mark: str) -> list[str]:
    """Return the rows of the table below a comment, without its head."""
    lines = TEXT.partition(f"<!-- {mark} -->\n")[2].splitlines()
    return lines[2 : lines.index("")]


def test_the_page_does_what_it_says(tmp_path: Path) -> None:
    """Each block is saved or typed; no broker runs."""
    blocks = blocks_of(TEXT)
    with Reader(tmp_path) as reader:
        assert reader.play(PAGE) == len(blocks) > 10


def test_every_mapping_on_the_page_is_read() -> None:
    files = [block for block in blocks_of(TEXT) if block.language == "yaml"]
    faulty = [block.marked("save") for block in files if not is_read(block.text)]

    assert len(files) == 5
    assert faulty == ["faulty.yaml"]


def is_read(text: str) -> bool:
    try:
        parse_claims(text.encode())
    except LinedError:
        return False
    return True


def quoted(texts: list[str]) -> str:
    return ", ".join(f"`{text}`" for text in texts)


def row_of(one: ProviderMapping) -> str:
    detection = one.detection
    issuers = [*detection.issuers, *(pattern.text for pattern in detection.patterns)]
    claims = {rule.attribute: [path.text for path in rule.claims] for rule in one.rules}
    return " | ".join([f"| `{one.id}`", quoted(issuers), *(quoted(claims[column]) for column in COLUMNS)]) + " |"


def test_the_built_in_table_is_that_of_the_code() -> None:
    assert table_after("built-in") == [row_of(one) for one in BUILT_IN.providers]


def test_the_codes_are_those_of_the_code() -> None:
    assert table_after("codes") == [f"| `{one}` | {one.meaning} | {one.step} |" for one in MappingCode]


def test_every_word_of_the_file_is_on_the_page() -> None:
    words = [*PATHS, *ClaimComparison, *TransformKind, "built_in", "forbidden", "iss_pattern", "required_claims"]

    assert [word for word in words if word not in TEXT] == []
