"""One log gives the same bytes on every supported Python: folded, judged as evidence, and asked about texts.

The other Pythons run with another hash seed, time zone and locale, and without assertions. A Python that is not
installed here is a skip, and a skip is counted.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.house import ROOT
from tests.interpreters import answers, hostile
from tests.interpreters.environments import VERSIONS, NoInterpreterError, environment_of, run
from tests.optional import skip_without
from tests.reference.log_builder import FolderInMemory, SmallLog, build_log
from tests.world import World

BABELS, RECORDS = 8, 80
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
OTHERS = [version for version in VERSIONS if version != HERE]


@pytest.fixture(scope="module")
def worlds() -> list[World]:
    return [hostile.attacked(), *(hostile.babel(seed, RECORDS) for seed in range(BABELS))]


@pytest.fixture(scope="module")
def hostile_log(worlds: list[World]) -> SmallLog:
    return SmallLog.of(worlds[0], [1000] * (len(worlds[0].records) // 1000))


@pytest.fixture(scope="module")
def request_file(worlds: list[World], hostile_log: SmallLog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with every log, and with exports of two, each whole and spoilt."""
    folder = tmp_path_factory.mktemp("logs")
    exports = []
    for log in (build_log(), hostile_log):
        for name, exported in _spoilt(log.folder()):
            path = folder / f"{log.world.name}, {name}"
            _write(exported, path)
            exports.append({"path": str(path), "genesis": log.world.genesis.hex()})
    file = folder / "request.json"
    file.write_text(json.dumps({"logs": [hostile.as_request(world) for world in worlds], "folders": exports}), "utf-8")
    return file


def _spoilt(folder: FolderInMemory) -> Iterator[tuple[str, FolderInMemory]]:
    """Yield a folder as it is, and with a fault of each kind that quotes something."""
    yield "whole", folder
    entries = folder.items("entries.bin")
    yield "cut", folder.put("entries.bin", entries[:-1]).remade()
    yield "changed", folder.put("entries.bin", [*entries[:3], entries[3][:-1] + b"\x00", *entries[4:]]).remade()
    yield "another file", folder.with_file("\U0001f6dc.bin", b"").remade()
    yield "no manifest", folder.with_file("manifest.json", "{\U0001fae8".encode())


def _write(exported: FolderInMemory, path: Path) -> None:
    for name, data in exported.files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)


@pytest.fixture(scope="module")
def ours(request_file: Path) -> Any:
    """The answers of this Python, as JSON gives them back."""
    return json.loads(json.dumps(answers.answers(json.loads(request_file.read_text("utf-8")))))


def environment(version: str) -> Path:
    try:
        return environment_of(version)
    except NoInterpreterError as error:
        skip_without(f"Python {version}", str(error))


@pytest.fixture(scope="module", params=OTHERS)
def theirs(request: pytest.FixtureRequest, request_file: Path) -> Any:
    """What another Python prints about the same request."""
    python = environment(request.param)
    others = {"PYTHONHASHSEED": "7", "TZ": "Pacific/Apia", "LC_ALL": "C"}
    done = run(python, "-O", "-m", "tests.interpreters.answers", str(request_file), **others)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["python"].startswith(f"{request.param}.")
    return told


def test_every_supported_python_is_tried() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    named = [one.rpartition(" ")[2] for one in project["classifiers"] if re.fullmatch(r".*:: 3\.\d+", one)]

    assert tuple(named) == VERSIONS
    assert project["requires-python"] == ">=3.11.1,<3.14"


def test_the_logs_are_hostile(ours: Any) -> None:
    """Many records are refused or denied because of a character, and as many take effect."""
    texts = [caused for log in ours["logs"] for record in log["records"] for caused in record]

    assert all(any(repr(new.encode("utf-8"))[2:-1] in text for text in texts) for new in answers.NEW)
    for reason in ("NAME_INVALID", "VAULT_FORM", "RESOURCE_INVALID", "PARAM_PATTERN", "PARAM_DENIED", "allowed"):
        assert sum(reason in text for text in texts) > len(answers.NEW), reason
    assert sum("E_UNKNOWN_FIELD at" in text for text in texts) >= len(answers.NEW)


def test_another_python_folds_each_log_to_the_same_bytes(ours: Any, theirs: Any) -> None:
    for one, other in zip(ours["logs"], theirs["answers"]["logs"], strict=True):
        for index, (caused, caused_there) in enumerate(zip(one["records"], other["records"], strict=True)):
            assert caused_there == caused, f"record {index}"
        assert other == one


def test_another_python_judges_each_export_alike(ours: Any, theirs: Any) -> None:
    assert theirs["answers"]["folders"] == ours["folders"]
    assert len({tuple(map(str, verdict[:3])) for verdict in ours["folders"]}) > 4


def test_another_python_has_the_same_texts_numbers_zones_and_expressions(ours: Any, theirs: Any) -> None:
    kept = {name: found for name, found in ours.items() if name not in {"logs", "folders"}}

    assert {name: theirs["answers"][name] for name in kept} == kept


def test_another_python_by_itself_has_other_texts(theirs: Any) -> None:
    """Or the laws above would say nothing."""
    assert theirs["native"]["printable"] != answers.native()["printable"]


@pytest.mark.parametrize("version", OTHERS)
def test_the_command_line_verifies_an_export_on_another_python(
    version: str, tmp_path: Path, hostile_log: SmallLog
) -> None:
    _write(hostile_log.folder(), tmp_path / "export")
    verify = ["audit", "verify", str(tmp_path / "export"), "--genesis", hostile_log.world.genesis.hex()]
    done = run(environment(version), "-m", "macaw.cli", *verify, "--allow-unwitnessed", "--json")

    assert done.returncode == 0, done.stderr
    verdict = json.loads(done.stdout)
    assert (verdict["verdict"], verdict["size"]) == ("UNWITNESSED", len(hostile_log.entries))
