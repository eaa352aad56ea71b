"""Each framework has a file of tests, pins of its own, an extra and an adapter: none is tried half."""

import tomllib

import pytest

from tests.frameworks import run
from tests.frameworks.conftest import MODULES
from tests.frameworks.run import NAMES, constraints_of
from tests.house import ROOT


@pytest.mark.parametrize("name", NAMES)
def test_a_framework_is_pinned_and_tried(name: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    package = extras[name][0].partition(">")[0]
    pins = constraints_of(name).read_text().splitlines()

    assert any(line.startswith(f"{package}==") for line in pins)
    assert all("==" in line for line in pins)
    assert run.tests_of(name).name in MODULES
    assert (ROOT / "macaw" / "adapters" / f"{name.replace('-', '_')}.py").exists()


def test_no_framework_is_forgotten() -> None:
    assert {run.tests_of(name).name for name in NAMES} == set(MODULES)
