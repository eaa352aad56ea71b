"""The manifest, and every byte of every file: each is under a signature, a digest or a rule."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.evidence.folder_format import (
    DATA_FILES,
    ENTRIES,
    EVENTS,
    MANIFEST,
    PROOFS,
    REGISTRY,
    FormatError,
    Manifest,
    schema_file,
)
from processors.evidence.verdict import verify
from processors.proof.jcs import canonical
from tests.reference.folder_changes import (
    AUDIT_SCHEMA,
    FOLDER,
    GENESIS,
    LAST,
    flipped,
    judge,
    said,
)
from tests.reference.log_builder import FolderInMemory, SmallLog, build_log
from tests.world import World

FOREIGN = build_log("foreign", tenant="globex")
SIZE = f'"size":{LAST + 1}'.encode()

# --- the manifest


@pytest.mark.parametrize(
    ("changed", "code", "index"),
    [
        ({"origin": "other/acme"}, "SPLICE", 0),
        ({"origin": "test/globex"}, "MALFORMED", None),
        ({"tenant": "globex"}, "MALFORMED", None),
        ({"tenant": "UPPER", "origin": "test/UPPER"}, "MALFORMED", None),
        ({"genesis": bytes(32)}, "SPLICE", None),
        ({"size": LAST + 2}, "TRUNCATED", LAST + 1),
        ({"size": LAST}, "MALFORMED", LAST),
        ({"size": 0}, "MALFORMED", None),
        ({"last": bytes(32)}, "BAD_LINK", LAST + 1),
        ({"files": {}}, "MALFORMED", None),
        ({"files": {"../../etc/passwd": bytes(32)}}, "MALFORMED", None),
    ],
)
def test_a_manifest_that_says_something_else_has_its_verdict(
    changed: dict[str, Any], code: str, index: int | None
) -> None:
    """It is not signed, so nothing is believed because it says so."""
    manifest = replace(FOLDER.manifest(), **changed)

    assert said(FOLDER.with_file(MANIFEST, manifest.encode())) == (code, index)


@pytest.mark.parametrize("name", [*DATA_FILES, schema_file(AUDIT_SCHEMA)])
def test_a_digest_in_the_manifest_is_compared(name: str) -> None:
    """Last of all, for files whose content held."""
    manifest = FOLDER.manifest()
    other = replace(manifest, files={**manifest.files, name: bytes(32)})

    assert said(FOLDER.with_file(MANIFEST, other.encode())) == ("MALFORMED", None)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        b" " + FOLDER.files[MANIFEST],
        FOLDER.files[MANIFEST].replace(SIZE, SIZE + b".0"),
        FOLDER.files[MANIFEST].replace(SIZE, b'"size":true'),
        FOLDER.files[MANIFEST].replace(b'"tenant":"acme"', b'"tenant":"\\u0061cme"'),
        FOLDER.files[MANIFEST].replace(b'"tenant":"acme"', b'"tenant":"acme","tenant":"acme"'),
        FOLDER.files[MANIFEST].replace(b'"tenant":"acme"', b'"tenant":"acme","zero":0'),
        FOLDER.files[MANIFEST].replace(b'"format":"macaw-evidence/v1"', b'"format":"macaw-evidence/v2"'),
        FOLDER.files[MANIFEST].replace(GENESIS.hex().encode(), GENESIS.hex().upper().encode()),
        FOLDER.files[MANIFEST].replace(b'"' + GENESIS.hex().encode() + b'"', b"7"),
        canonical({"a": ["x"] * 40_000}),
        b"[" * 100_000,
    ],
)
def test_a_manifest_has_one_text(text: bytes) -> None:
    """Another text for the same values would be a second digest for the same folder."""
    assert said(FOLDER.with_file(MANIFEST, text)) == ("MALFORMED", None)
    with pytest.raises(FormatError):
        Manifest.parse(text)


def test_a_folder_is_judged_by_the_genesis_that_its_reader_pins() -> None:
    """A whole log of somebody else proves nothing about this tenant."""
    assert said(FOREIGN.folder(), FOREIGN.world.genesis) == ("UNWITNESSED", None)
    assert said(FOREIGN.folder()) == ("SPLICE", None)
    assert said(FOREIGN.folder(genesis=GENESIS)) == ("BAD_LINK", 0)
    assert said(FOREIGN.folder(genesis=GENESIS, tenant="acme", origin="test/acme")) == ("SPLICE", 0)


# --- every byte


def _tiny() -> SmallLog:
    world = World.founded("tiny", root_count=1, root_threshold=1)
    agent = world.register("agent", "bot")
    session = world.open_session(agent)
    world.call(session, "tool:calc/run")
    world.fold(b"?", [])
    return SmallLog.of(world)


TINY = _tiny()
TINY_FOLDER = TINY.folder()


STRIDES = {ENTRIES: 1, PROOFS: 3, EVENTS: 3, REGISTRY: 4, MANIFEST: 4}  # a verdict takes milliseconds
SCHEMA_STRIDE = 61


@pytest.mark.parametrize("name", DATA_FILES)
def test_every_byte_of_the_data_counts_even_under_a_manifest_made_anew(name: str) -> None:
    """No byte is covered by the manifest alone: each is under a signature, a digest or a rule."""
    data = TINY_FOLDER.files[name]
    for at in range(0, len(data), STRIDES[name]):
        changed = TINY_FOLDER.with_file(name, flipped(data, at, at % 8)).remade()
        verdict = verify(changed, genesis=TINY.world.genesis)
        assert verdict.code not in {"OK", "UNWITNESSED"}, (name, at)
        assert "could not be made" not in verdict.detail, (name, at, verdict)


@pytest.mark.parametrize("name", [n for n in TINY_FOLDER.files if n not in DATA_FILES])
def test_every_byte_of_the_other_files_counts(name: str) -> None:
    """The manifest and the schemas."""
    data = TINY_FOLDER.files[name]
    for at in range(0, len(data), STRIDES.get(name, SCHEMA_STRIDE)):
        verdict = verify(TINY_FOLDER.with_file(name, flipped(data, at, at % 8)), genesis=TINY.world.genesis)
        assert verdict.code not in {"OK", "UNWITNESSED"}, (name, at)
        assert "could not be made" not in verdict.detail, (name, at, verdict)


@given(data=st.data())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_no_change_to_any_file_is_a_yes_or_an_exception(data: st.DataObject) -> None:
    """Cut, insert, overwrite, anywhere, anything."""
    name = data.draw(st.sampled_from(sorted(FOLDER.files)))
    old = FOLDER.files[name]
    start = data.draw(st.integers(0, len(old)))
    end = data.draw(st.integers(start, min(len(old), start + 64)))
    new = old[:start] + data.draw(st.binary(max_size=64)) + old[end:]
    verdict = judge(FOLDER.with_file(name, new))

    if new == old:
        assert verdict.code == "UNWITNESSED"
    else:
        assert verdict.code not in {"OK", "UNWITNESSED"}
        assert "could not be made" not in verdict.detail


@given(files=st.dictionaries(st.sampled_from([MANIFEST, *DATA_FILES]), st.binary(max_size=200)))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_garbage_is_malformed(files: dict[str, bytes]) -> None:
    """Also when nothing else is there."""
    assert judge(FolderInMemory(files)).code == "MALFORMED"
