"""An int has 32 bits and a long 64, in both readers and in the writer; what does not fit is refused, never cut off."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import fastavro
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas import codec, limits
from schemas.codec import MalformedRecordError, SchemaError
from schemas.codec_fast.reading import compile_reader
from schemas.codec_fast.writing import compile_writer, zigzag, zigzag_int
from schemas.numbers import NumberError, Numbers
from schemas.records import DeadLetter
from tests.rows import every
from tests.schemas.test_codec import SAMPLES

BITS = {"int": 32, "long": 64}
WIDE = st.integers(-(2**70), 2**70) | st.sampled_from([sign * 2**n + d for n in (31, 32, 53, 62, 63, 64, 69)
                                                      for sign in (1, -1) for d in (-1, 0, 1)])  # fmt: skip


def varint(number: int, *, bytes_min: int = 1) -> bytes:
    """Return a number of any size as Avro would write it, perhaps longer than need be."""
    rest, out = number << 1 if number >= 0 else (-number << 1) - 1, bytearray()
    while rest > 0x7F or len(out) + 1 < bytes_min:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*out, rest])


def fits(kind: str, number: int) -> bool:
    return -(1 << BITS[kind] - 1) <= number < 1 << BITS[kind] - 1


@pytest.mark.parametrize("kind", BITS)
@given(WIDE, st.integers(1, 12))
@example(2**31, 1)
@example(0, 11)
def test_a_number_is_read_if_it_fits_its_type(kind: str, number: int, bytes_min: int) -> None:
    """Also where it was written longer than need be, but in no more bytes than 64 bits take."""
    data = varint(number, bytes_min=bytes_min)
    read = compile_reader(kind, codec._class_of)
    assert read is not None
    assert read(data) in {None, number}
    assert fits(kind, number) or read(data) is None
    if fits(kind, number) and len(data) <= 10:
        Numbers(kind).check(data)
        assert fastavro.schemaless_reader(io.BytesIO(data), fastavro.parse_schema(kind), None) == number
    else:
        with pytest.raises(NumberError):
            Numbers(kind).check(data)


@pytest.mark.parametrize(("kind", "write"), [("int", zigzag_int), ("long", zigzag)])
@given(WIDE)
def test_a_number_is_written_if_it_fits_its_type(kind: str, write: Callable[[int], bytes], number: int) -> None:
    """The generated writers ask the same."""
    made = compile_writer({"type": kind})
    if fits(kind, number):
        assert write(number) == made(number) == varint(number)
    else:
        for one in (write, made):
            with pytest.raises(OverflowError):
                one(number)


@pytest.mark.parametrize("number", [2**31, -(2**31) - 1, 2**60, 2**63])
def test_a_record_with_a_number_that_does_not_fit_is_no_record(number: int) -> None:
    """By whichever reader, and the writer makes none; the largest that fits is read."""
    most = DeadLetter(partition=2**31 - 1, offset=2**63 - 1, audit_index=0, reason="", value=b"", size=0)
    datum = codec.encode(most)
    schema = codec.current("DeadLetter")
    assert datum.startswith(varint(2**31 - 1))
    wrong = datum.replace(varint(2**31 - 1), varint(number))

    for decode in (codec.decode, codec.decode_generally):
        assert decode(schema, datum) == most
        with pytest.raises(MalformedRecordError, match="bits"):
            decode(schema, wrong)
    with pytest.raises(OverflowError):
        codec.encode(replace(most, partition=number))


@pytest.mark.parametrize("blocks", [1, 2])
def test_an_array_has_so_many_items_and_no_more(blocks: int) -> None:
    """Else a reader would take longer for a record of a megabyte than anybody needs to send it."""
    kind = {"type": "array", "items": "bytes"}
    read = compile_reader(kind, codec._class_of)
    assert read is not None

    def data(items: int) -> bytes:
        each = items // blocks
        return b"".join(varint(each) + bytes(each) for _ in range(blocks)) + b"\0"

    Numbers(kind).check(data(limits.ARRAY_ITEMS_MAX))
    assert blocks == 2 or len(read(data(limits.ARRAY_ITEMS_MAX))) == limits.ARRAY_ITEMS_MAX
    assert read(data(limits.ARRAY_ITEMS_MAX + 2)) is None
    with pytest.raises(NumberError):
        Numbers(kind).check(data(limits.ARRAY_ITEMS_MAX + 2))


def test_the_walk_ends_where_every_published_sample_does() -> None:
    """It knows every type of every schema: a type that it does not know would be a KeyError."""

    def holds(sample: dict[str, Any]) -> None:
        schema, body = codec.unframe(bytes.fromhex(sample["value"]))
        codec._numbers(schema.id).check(body)
        with pytest.raises(SchemaError):
            codec.decode_generally(schema, body[:-1])

    every(SAMPLES, lambda s: f"{s['id']}: {s['desc']}", holds)
