"""The identity of the detectors: a rule that moves is another engine."""

import importlib.metadata
import tomllib
from pathlib import Path

from processors.content.identity import OWN_SHA256, PACKAGES, detectors
from processors.content.statements import own_digest

ROOT = Path(__file__).parents[3]


def test_the_engine_names_the_detectors_that_are_here():
    """After a change of a rule: raise the engine where tenants decide by it, and write the new digest."""
    assert own_digest().hex() == OWN_SHA256.hex()


def test_every_package_that_decides_is_pinned():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    pinned = dict(one.split("==") for one in extras["server"] if "==" in one)
    for name, version in PACKAGES:
        assert pinned[name] == version == importlib.metadata.version(name)
    assert {name for name, _ in detectors()} >= {f"{name}/{version}" for name, version in PACKAGES}
