"""Quick readers answer only where fastavro says the same."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import codec, limits
from schemas.codec import SchemaError
from schemas.codec_fast import writing
from schemas.codec_fast.reading import Reader, compile_reader
from schemas.publish import TOP_LEVEL
from tests.schemas.test_codec import READABLE, STRATEGIES

VARINT_MAX = 2**62 - 1  # of what the quick readers take as a number
READERS: dict[str, Reader] = {
    name: reader
    for name in TOP_LEVEL
    if (reader := compile_reader(json.loads(codec.current(name).text), codec._class_of)) is not None
}


def generally(name: str, data: bytes) -> Any:
    """Return what fastavro reads, None where it refuses."""
    try:
        return codec.decode_generally(codec.current(name), data)
    except SchemaError:
        return None


def numbers(value: Any) -> list[int]:
    """Return every number in a record."""
    if isinstance(value, tuple):
        return [number for item in value for number in numbers(item)]
    if hasattr(value, "__slots__"):
        return [number for field in value.__slots__ for number in numbers(getattr(value, field))]
    return [value] if isinstance(value, int) else []


def check(name: str, data: bytes) -> None:
    """Assert that the quick reader says what fastavro says, or nothing."""
    quick = READERS[name](data)
    assert quick is None or quick == generally(name, data), data.hex()


def test_every_record_has_a_quick_reader() -> None:
    """Our schemas use no type that is not known here; one that did would be read by fastavro alone."""
    assert set(READERS) == set(TOP_LEVEL)
    assert compile_reader({"type": "fixed", "name": "F", "namespace": "n", "size": 3}, codec._class_of) is None
    assert compile_reader("double", codec._class_of) is None


def check_whole(name: str, record: Any, data: bytes) -> None:
    """Assert that a record which our writers wrote is read quickly, unless a number is larger than any time."""
    found = READERS[name](data)
    assert generally(name, data) == record
    if all(-VARINT_MAX <= number <= VARINT_MAX for number in numbers(record)):
        assert found == record
    else:
        assert found is None or found == record


@pytest.mark.parametrize("name", TOP_LEVEL)
def test_what_is_written_is_read_quickly_and_what_is_mangled_alike_or_not_at_all(name: str) -> None:
    """The same record; with stretches cut out, put in and changed the quick reader never says more than fastavro.

    One test, because to draw the records costs more than to read them.
    """

    @settings(max_examples=150, deadline=None)
    @given(STRATEGIES[name], st.data())
    def holds(record: Any, drawn: st.DataObject) -> None:
        data = codec.encode(record)
        check_whole(name, record, data)
        begin = drawn.draw(st.integers(0, len(data)))
        end = drawn.draw(st.integers(begin, min(len(data), begin + 12)))
        check(name, data[:begin] + drawn.draw(st.binary(max_size=12)) + data[end:])

    holds()


def bodies() -> dict[tuple[str, bytes], str]:
    """Return what the published samples are in today's schemas: many old ones come to the same bytes."""
    found: dict[tuple[str, bytes], str] = {}
    for sample in READABLE:
        record = codec.decode(*codec.unframe(bytes.fromhex(sample["value"])))
        found.setdefault((type(record).__name__, codec.encode(record)), f"{sample['id']}: {sample['desc']}")
    return found


BODIES = bodies()


@pytest.mark.parametrize(("name", "body"), BODIES, ids=BODIES.values())
def test_every_byte_of_a_sample_may_be_another(name: str, body: bytes) -> None:
    """Each byte of a published sample, changed to many other values, and each of its beginnings."""
    for at in range(min(len(body), 250)):
        check(name, body[:at])
        for value in {body[at] ^ 1 << bit for bit in range(8)} | {0, 1, 2, 0x7F, 0x80, 0xFF}:
            check(name, body[:at] + bytes([value]) + body[at + 1 :])


@pytest.mark.parametrize(
    ("schema", "data"),
    [
        ("long", b"\x80\x00"),  # longer than need be
        ("long", b"\xff" * 9 + b"\x01"),  # 64 bits
        ("boolean", b"\x02"),
        ("string", b"\x02\xff"),  # not UTF-8
        ("string", b"\x01"),  # a negative length
        ("string", b"\x04a"),  # cut off
        ("bytes", b"\x02ab"),  # something follows
        ({"type": "array", "items": "long"}, b"\x03\x02\x00\x00"),  # a block with its size
        ({"type": "array", "items": "long"}, b"\x02\x00\x02\x00\x00"),  # two blocks
        ({"type": "array", "items": "bytes"}, b"\xfe" * 8 + b"\x01"),  # more items than there are bytes
        (["null", "long"], b"\x04\x00"),
        (["null", "long"], b"\x80\x00"),
        (["long", "string"], b"\x01\x00"),
        (["long", "string"], b"\x82\x00\x00"),
        ("long", b""),
    ],
)
def test_what_our_writers_do_not_write_is_left_to_fastavro(schema: Any, data: bytes) -> None:
    """Whether it is allowed is not for the quick reader to say."""
    read = compile_reader(schema, codec._class_of)
    assert read is not None
    assert read(data) is None


def test_a_datum_of_the_largest_size_is_read_quickly() -> None:
    """Nothing in it depends on how long a text is."""
    read = compile_reader("string", codec._class_of)
    text = "ü" * (limits.INTAKE_MESSAGE_BYTES_MAX // 2)
    assert read is not None
    assert read(writing.text(text)) == text
