"""The compiler of TypeScript, and the one of types from OpenAPI documents, from npm, installed once into the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.npm import Packages

PACKAGES: Final = Packages(Path(__file__).with_name("typescript"), "typescript-packages")
COMPILER: Final = Path("node_modules", "typescript", "bin", "tsc")
TYPES: Final = Path("node_modules", "openapi-typescript", "bin", "cli.js")
