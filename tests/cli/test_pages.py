"""The pages for users do what they say: their commands and code run as they are printed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from producers.home.security import SecurityError, load_security
from tests.pages import ROOT, Reader, blocks_of, is_shown, typed_in

DOCS = ROOT / "docs"
QUICKSTART = DOCS / "quickstart.md"
AFTER_IT = [
    ROOT / "README.md",
    *(
        DOCS / f"{name}.md"
        for name in (
            "adapters",
            "approvals",
            "authzen",
            "gateway",
            "mcp",  # this and the next one before the one after them, which gives every program a role
            "secure-mcp",
            "coming-from-macaw",
            "kafka",
            "metrics",
            "policy",
            "observe",
            "tenants",
            "tools",
            "verifiers",
            "workflow",
        )
    ),
]
WITHOUT_IT = [DOCS / "claims.md", DOCS / "setup.md"]  # test_claims_page.py and test_init.py play them
LANGUAGES = {"console", "python", "text"}
# Its JSON is played by test_policy_page.py.
LEFT_TO_OTHERS = {"policy": ("json", "jsonl")}


@pytest.fixture(scope="module")
def after_the_quick_start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Play the quick start, on an embedded broker of its own, and leave all of it running."""
    with Reader(tmp_path_factory.mktemp("pages")) as reader:
        assert reader.play(QUICKSTART) == 6
        yield reader


@pytest.mark.broker
@pytest.mark.parametrize("page", AFTER_IT, ids=lambda page: page.stem)
def test_a_page_does_what_it_says(after_the_quick_start: Reader, page: Path) -> None:
    """Each page begins where the quick start ends, and needs no other page."""
    after_the_quick_start.type("macaw policy publish examples/policies-quickstart/payer.json")

    assert after_the_quick_start.play(page, leaving=LEFT_TO_OTHERS.get(page.stem, ())) > 0


@pytest.mark.parametrize("page", [QUICKSTART, *AFTER_IT, *WITHOUT_IT], ids=lambda page: page.stem)
def test_every_block_of_a_page_is_played_or_says_why_not(page: Path) -> None:
    text = page.read_text("utf-8")
    blocks = blocks_of(text)
    played = LANGUAGES | set(LEFT_TO_OTHERS.get(page.stem, ()))
    unclear = [b for b in blocks if b.language not in played and not (b.marked("save") or b.marked("not run"))]
    marks = [b for b in blocks if b.mark and all(b.marked(word) is None for word in ("save", "stays", "not run"))]

    assert len(blocks) * 2 == sum(line.startswith("```") for line in text.splitlines())
    assert [b for b in blocks if b.marked("not run") == ""] == []
    assert unclear == marks == []


def test_the_readme_fits_a_reader() -> None:
    """At most 150 lines of at most 120 characters."""
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()

    assert len(lines) <= 150
    assert [line for line in lines if len(line) > 120] == []


def test_the_settings_of_the_kafka_page_are_taken(tmp_path: Path) -> None:
    [settings] = [b.text for b in blocks_of((DOCS / "kafka.md").read_text("utf-8")) if '"kafka"' in b.text]
    section = json.loads(settings)["kafka"]
    password = tmp_path / section["sasl.password_file"]
    password.write_text("a-password")
    password.chmod(0o600)

    taken = load_security(section, tmp_path)

    assert taken["sasl.password"] == "a-password"
    with pytest.raises(SecurityError):
        load_security({**section, "sasl.mechanism": "SCRAM-SHA-1024"}, tmp_path)


class TestThePlayer:
    """The comparison would otherwise be the one part of this file that nothing looks at."""

    @pytest.mark.parametrize(
        ("shown", "printed"),
        [
            (["12 entries, root 0123456789abcdef"], "14 entries, root fedcba9876543210\n"),
            (["first", "…", "last"], "first\nbetween\nbetween\nlast\n"),
            (["first", "…"], "first\n"),
            (["{…}", "NAME  ROLE"], '{"a": 1}\n\nNAME     ROLE\n'),
        ],
    )
    def test_what_is_alike(self, shown: list[str], printed: str) -> None:
        assert is_shown(shown, printed)

    @pytest.mark.parametrize(
        ("shown", "printed"),
        [
            (['{"sent": 25}'], '{"sent": 26}\n'),
            (["held"], "held not\n"),
            (["first", "last"], "first\nbetween\nlast\n"),
            (["first", "last"], "first\n"),
            (["a.b"], "aXb\n"),
        ],
    )
    def test_what_is_not_alike(self, shown: list[str], printed: str) -> None:
        assert not is_shown(shown, printed)

    def test_a_process_that_goes_on_has_printed_the_lines_in_their_order(self) -> None:
        assert is_shown(["b", "d"], "a\nb\nc\nd\ne\n", whole=False)
        assert not is_shown(["d", "b"], "a\nb\nc\nd\ne\n", whole=False)

    def test_blocks_and_commands_are_read_with_their_lines(self) -> None:
        page = "# A\n\n<!-- save: a.json -->\n```json\n{}\n```\n\n```console\n$ one \\\n    more\nshown\n$ two\n```\n"
        saved, typed = blocks_of(page)

        assert (saved.marked("save"), saved.marked("not run"), saved.line, typed.line) == ("a.json", None, 4, 8)
        assert [(t.command, t.shown) for t in typed_in(typed.text)] == [("one \\\n    more", ["shown"]), ("two", [])]

    @pytest.mark.parametrize("text", ["console\n$ false\n", "console\n$ echo 1\n{2}\n", "python\nraise ValueError\n"])
    def test_a_page_that_is_wrong_fails(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "page.md").write_text(f"```{text}```\n")
        with Reader(tmp_path, root=tmp_path) as reader, pytest.raises(AssertionError, match=r"page\.md:1"):
            reader.play(tmp_path / "page.md")
