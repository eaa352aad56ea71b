"""The package `oidc-provider` from npm, installed once into the cache by its lock file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.npm import Packages

SOURCE: Final = Path(__file__).with_name("node")
PACKAGES: Final = Packages(SOURCE, "oidc-provider")
