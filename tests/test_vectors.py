"""The published vectors: made again without a difference, and met by a second, independent implementation."""

import json
from typing import Any

import pytest

from schemas import codec
from tests.reference import wire_reference
from tests.rows import every
from tests.vectors import generate

VECTORS: list[dict[str, Any]] = json.loads(generate.WIRE.read_text("utf-8"))
SAMPLES: list[dict[str, Any]] = json.loads(generate.SAMPLES.read_text("utf-8"))


def name_of(vector: dict[str, Any]) -> str:
    return f"{vector.get('kind', vector.get('id'))}: {vector['desc']}"


def test_making_the_wire_vectors_again_changes_nothing():
    """The file is exactly what the code makes of the fixed keys."""
    assert generate.WIRE.read_text("utf-8") == generate.text(generate.wire())


def test_making_the_samples_again_changes_nothing():
    """The file is exactly what the published schemas make of the fixed values."""
    assert generate.SAMPLES.read_text("utf-8") == generate.text(generate.published_samples())


@pytest.mark.parametrize("vector", VECTORS, ids=name_of)
def test_an_independent_implementation_meets_every_wire_vector(vector):
    """What `docs/wire.md` says in words is enough to compute each vector without our code."""
    assert wire_reference.KINDS[vector["kind"]](**vector["input"]) == vector["expect"]


def test_every_kind_of_vector_is_shown():
    """No kind that the reference knows is missing from the file, nor the other way round."""
    assert {vector["kind"] for vector in VECTORS} == set(wire_reference.KINDS)


def test_the_first_event_id_is_the_example_of_the_rfc():
    """RFC 9562, appendix A.6, gives time and random bits of a UUIDv7."""
    vector = next(v for v in VECTORS if v["kind"] == "uuid7")

    assert vector["expect"] == {"uuid": "017f22e279b07cc398c4dc0c0c07398f"}


def test_an_independent_writer_makes_the_bytes_of_every_sample() -> None:
    """The value is the byte 00, the id, and what the Avro specification says of the record under that schema."""

    def holds(sample: dict[str, Any]) -> None:
        schema = codec.published()[sample["id"]]
        datum = wire_reference.avro(json.loads(schema.text), sample["record"], {})

        assert sample["sha256"] == wire_reference.digest(schema.text.encode()).hex()
        assert sample["value"] == (b"\x00" + sample["id"].to_bytes(4, "big") + datum).hex()

    every(SAMPLES, name_of, holds)


def test_every_corruption_of_a_proof_is_named_and_refused():
    """Beside the one good proof each vector is a corruption that must not verify."""
    checks = [vector for vector in VECTORS if vector["kind"] == "proof_check"]

    assert [vector["desc"] for vector in checks if vector["expect"]["verifies"]] == ["as it was signed"]
    assert len(checks) == len({vector["desc"] for vector in checks}) >= 10
