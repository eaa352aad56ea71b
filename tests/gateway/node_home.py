"""The packages of MCP from npm that tests and the demo of the gateway use, installed once into the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.npm import Packages

PACKAGES: Final = Packages(Path(__file__).with_name("node"), "mcp-packages")
SUITE: Final = Path("node_modules", "@modelcontextprotocol", "conformance", "dist", "index.js")
FILESYSTEM: Final = Path("node_modules", "@modelcontextprotocol", "server-filesystem", "dist", "index.js")
