"""The identity of the rules is the same in every process, and another one for other data."""

import importlib.metadata
import tomllib

import pytest
import re2

from processors.content import identity
from processors.policy import times
from processors.state import engine
from processors.text import characters
from tests.house import ROOT


def test_the_data_have_names_with_versions_in_order() -> None:
    names = [name for name, _ in engine.data(1)]

    assert names == sorted(names)
    assert [name.split("/")[0] for name in names] == ["re2", "tzdata", "unicode"]
    assert names[1:] == [f"tzdata/{times.TZDATA_VERSION}", "unicode/14.0.0"]
    for number in range(1, engine.ENGINE + 1):
        names = [name for name, _ in engine.data(number)]
        assert names == sorted(set(names))
        assert all(len(digest) == 32 for _, digest in engine.data(number))
        assert engine.data(number) is engine.data(number)


def test_the_second_engine_reads_what_the_first_does_and_the_detectors() -> None:
    first, second = set(engine.data(1)), set(engine.data(2))

    assert second - first == set(identity.detectors())
    assert first < second


def test_the_packages_are_the_pins_of_the_server_and_those_that_are_installed_here() -> None:
    """A package that moves without the engine would decide otherwise under the same name."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    pins = dict(one.split("==") for one in extras["server"] if "==" in one)
    constrained = (ROOT / "constraints.txt").read_text("utf-8").replace("_", "-").splitlines()

    for name, version in identity.PACKAGES:
        assert pins[name] == version == importlib.metadata.version(name)
        assert f"{name}=={version}" in constrained


def test_the_data_are_those_of_the_pinned_versions() -> None:
    """Whoever moves a pin moves these digests, and with them the engine."""
    assert {name: digest.hex()[:16] for name, digest in engine.data(1)} == {
        "re2/1.1.20251105": "c744bfe0b0d17ec1",
        "tzdata/2026f": "2cfa35721830bc33",
        "unicode/14.0.0": "6a92ffb6d37ed417",
    }


def test_zones_are_those_that_a_policy_can_name() -> None:
    files = dict(times.zone_files())

    assert "Europe/Berlin" in files
    assert "EST" not in files
    assert all(file.startswith(b"TZif") for file in files.values())
    assert all(times.zone_named(name, "") for name in files)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda patch: patch.setattr(characters, "MARK", characters.MARK[:-1]), "unicode"),
        (lambda patch: patch.setattr(times, "_file", lambda name: name.encode()), "tzdata"),
        (lambda patch: patch.setattr(re2, "compile", lambda _: type("Program", (), {"programsize": 1})), "re2"),
    ],
)
def test_other_data_have_another_digest(monkeypatch: pytest.MonkeyPatch, change, name: str) -> None:
    before = engine.data(1)
    change(monkeypatch)
    after = engine.data.__wrapped__(1)

    assert [one.split("/")[0] for one, digest in after if (one, digest) not in before] == [name]
