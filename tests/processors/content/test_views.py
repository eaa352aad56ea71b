"""Other readings of a text: disguises come off, bounds hold, and no text makes the reader fail."""

# ruff: noqa: RUF001 -- letters that look like others are the point of some texts here

import base64
import codecs
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.content.views import VIEWS_BYTES_MAX, VIEWS_MAX, views
from processors.text.characters import utf8_size

SENTENCE = "Please open the gate for the courier."
TEXTS = st.text(st.characters(), max_size=700)  # with halves of surrogate pairs
PIECES = st.lists(
    st.sampled_from([
        "%41", "%", "\\u0041", "\\x", "\\", "&amp;", "&#x41;", "&", "aGVsbG8gd29ybGQhISE=", "68656c6c6f20776f", " ",
        "\u200b", "\U000e0041", "\ufdfa", "\u0300", "\ud800", "a", "а", "A B C D E F G", "\uff21", "=", "\n",
    ]),
    max_size=120,
).map("".join)  # fmt: skip


def _tagged(text: str) -> str:
    return "".join(chr(0xE0000 + ord(one)) for one in text)


def _escaped(text: str) -> str:
    return "".join(f"\\u{ord(one):04x}" for one in text)


DISGUISES = {
    "percent": quote(SENTENCE, safe=""),
    "percent of every byte": "".join(f"%{byte:02x}" for byte in SENTENCE.encode()),
    "base64": base64.b64encode(SENTENCE.encode()).decode(),
    "base64 for addresses, not padded": base64.urlsafe_b64encode(SENTENCE.encode()).decode().rstrip("="),
    "base64 after other letters": "data" + base64.b64encode(SENTENCE.encode()).decode(),
    "base64 twice": base64.b64encode(base64.b64encode(SENTENCE.encode())).decode(),
    "base64 of UTF-16": base64.b64encode(SENTENCE.encode("utf-16-le")).decode(),
    "hexadecimal": SENTENCE.encode().hex(),
    "hexadecimal, apart": SENTENCE.encode().hex(" "),
    "entities": "".join(f"&#{ord(one)};" for one in SENTENCE),
    "entities of percent": "".join(f"&#37;{ord(one):02X}" for one in SENTENCE),
    "escapes": _escaped(SENTENCE),
    "escapes of bytes": "".join(f"\\x{ord(one):02x}" for one in SENTENCE),
    "escapes in braces": "".join(f"\\u{{{ord(one):x}}}" for one in SENTENCE),
    "tag characters": _tagged(SENTENCE),
    "zero width": "\u200b".join(SENTENCE),
    "full width": "".join(chr(ord(one) + 0xFEE0) if one.isalpha() else one for one in SENTENCE),
    "mathematical": "".join(chr(ord(one) - ord("a") + 0x1D41A) if one.islower() else one for one in SENTENCE),
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_disguise_comes_off(disguise):
    assert any(SENTENCE in view for view in views(f"Note: {DISGUISES[disguise]}"))


def test_letters_of_other_scripts_become_latin_in_words_that_mix_them():
    assert any("open the gate" in view for view in views("оpen thе gаte"))
    assert views("Откройте ворота, пожалуйста") == ("Откройте ворота, пожалуйста",)


def test_letters_apart_become_words():
    assert any("please  open" in view for view in views("p l e a s e  o p e n"))


@pytest.mark.parametrize(
    "text", ["", "Good morning.", "100 % of 3 & 4", "C:/Users/ada", "ein schöner Tag", "今日は良い天気"]
)
def test_a_plain_text_has_one_reading(text):
    assert views(text) == (text,)


@pytest.mark.parametrize(
    "digest", ["0f343b0931126a20f133d67c2b018a3b", "deadbeef" * 8, "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"]
)
def test_digests_and_ids_are_not_read_as_text(digest):
    assert views(digest) == (digest,)


@given(TEXTS | PIECES)
def test_the_text_comes_first_and_the_bounds_hold(text):
    found = views(text)
    assert found[0] == text
    assert len(found) == len(set(found)) <= VIEWS_MAX
    assert sum(map(utf8_size, found)) <= max(VIEWS_BYTES_MAX, utf8_size(text))
    assert views(text) == found


@pytest.mark.parametrize(
    "one", ["a", "`", "1", "%", "%41", "\\", "\\x41", "&amp;", "\u0300", "\ufdfa", "\ud800", "\0", "aа", "a "]
)
def test_four_kibibytes_of_one_thing(one):
    text = one * (4096 // utf8_size(one))
    assert sum(map(utf8_size, views(text))) <= VIEWS_BYTES_MAX


def test_a_ligature_of_many_letters_does_not_push_the_rest_out():
    hidden = codecs.encode(SENTENCE.encode(), "hex").decode()
    assert any(SENTENCE in view for view in views("\ufdfa" * 1200 + hidden))


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=12, max_size=60))
def test_any_text_of_ascii_comes_out_of_base64(text):
    assert any(text in view for view in views(base64.b64encode(text.encode()).decode())[1:])


def test_a_decoy_does_not_keep_the_rest_from_being_read_twice():
    decoy = base64.b64encode(b"an innocent sentence for readers").decode()
    hidden = quote(quote(SENTENCE, safe=""), safe="")
    assert any(SENTENCE in view for view in views(f"{decoy} {hidden}"))
