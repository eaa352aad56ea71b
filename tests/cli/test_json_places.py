"""Where a fault of a JSON text stands, held against the strict reader that finds it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from macaw.policies.json_places import TextPlace, fault_in, place_of, sentence_of
from processors.proof import jcs


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (b'{\n  "a": [\n    "x",\n  ]\n}', TextPlace(4, 3, "/a/1")),
        (b'{"a": 1,}', TextPlace(1, 9, "")),
        (b'{"a": 1 // no comments\n}', TextPlace(1, 9, "")),
        (b"", TextPlace(1, 1, "")),
        (b"  \n ", TextPlace(2, 2, "")),
        (b"\xef\xbb\xbf{}", TextPlace(1, 1, "")),
        (b'{"a": "\xff"}', TextPlace(1, 8, "")),
        (b'{"a": {"b": 9007199254740993}}', TextPlace(1, 13, "/a/b")),
        (b'{"a": [1, 1e400]}', TextPlace(1, 11, "/a/1")),
        (b'{"a": 1,\n "b": 2,\n "\\u0061": 3}', TextPlace(3, 2, "/a")),
        (b'{"a~/b": {"c": 1, "c": 2}}', TextPlace(1, 19, "/a~0~1b/c")),
        (b"{} {}", TextPlace(1, 4, "")),
        (b"[1 2]", TextPlace(1, 4, "")),
        (b"[NaN]", TextPlace(1, 2, "/0")),
        (b"[01]", TextPlace(1, 2, "/0")),
        (b'["\\ud800"]', TextPlace(1, 2, "/0")),
        (b'["\ttab"]', TextPlace(1, 2, "/0")),
        (b"[" * 200, TextPlace(1, 129, "/0" * 128)),
        (b"{1: 2}", TextPlace(1, 2, "")),
        (b'{"a" 2}', TextPlace(1, 6, "")),
        (b"[}", TextPlace(1, 2, "")),
        (b'{"a": ]', TextPlace(1, 7, "/a")),
        (b"[,1]", TextPlace(1, 2, "/0")),
        (b"[1,]", TextPlace(1, 4, "/1")),
    ],
)
def test_the_first_fault_has_a_line_a_column_and_a_pointer(text: bytes, place: TextPlace) -> None:
    assert fault_in(text) == place


def test_a_sentence_says_what_and_where() -> None:
    with pytest.raises(jcs.MalformedJSONError) as caught:
        jcs.parse_strict(b'{"id": 12345678901234567890}')

    assert sentence_of(b'{"id": 12345678901234567890}', caught.value) == (
        "has a number that a double does not hold exactly: write ids beyond 2^53 as texts, in double quotes "
        "(line 1, column 8, at '/id')"
    )


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def at(value: Any, pointer: str) -> Any:
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        value = value[int(name)] if isinstance(value, list) else value[name]
    return value


def pointers(value: Any, here: str = "") -> list[str]:
    found = [here]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, member in items:
        found += pointers(member, f"{here}/{str(name).replace('~', '~0').replace('/', '~1')}")
    return found


@given(VALUES, st.sampled_from([None, 0, 2]), st.booleans())
def test_what_the_strict_reader_takes_has_no_fault_and_each_value_a_place(
    value: Any, indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    try:
        read = jcs.parse_strict(text)
    except jcs.MalformedJSONError:
        assert fault_in(text) is not None  # names that are equal in NFC
        return

    assert fault_in(text) is None
    lines = text.decode().split("\n")
    for pointer in pointers(read):
        place = place_of(text, pointer)
        if place is None:
            continue  # a name that is not in NFC is looked for in NFC
        rest = lines[place.line - 1][place.column - 1 :]
        last = pointer.rpartition("/")[2]
        named = pointer and isinstance(at(read, pointer.rpartition("/")[0]), dict)
        start = json.dumps(last.replace("~1", "/").replace("~0", "~"), ensure_ascii=ascii_only) if named else ""
        assert rest.startswith(start)


@given(VALUES, st.data())
def test_a_fault_is_found_wherever_the_strict_reader_finds_one(value: Any, data: st.DataObject) -> None:
    text = bytearray(json.dumps(value).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        where = data.draw(st.integers(0, len(text)))
        text[where : where + data.draw(st.integers(0, 2))] = data.draw(
            st.sampled_from([b",", b"}", b'"', b"\\", b"1e999", b"-", b" x"])
        )
    try:
        jcs.parse_strict(bytes(text))
    except jcs.MalformedJSONError:
        assert fault_in(bytes(text)) is not None
    else:
        assert fault_in(bytes(text)) is None
