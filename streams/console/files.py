"""The files that browsers load: our own, and uPlot's from its package, each known by its digest.

Of the package only the two files of uPlot 1.6.31 (MIT) are served; none of its Python is imported.
"""

from __future__ import annotations

from hashlib import sha256
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

from schemas.errors import InstallationError

HERE = Path(__file__).parent / "assets"
PACKAGE, VERSION = "youplot", "1.0.0"
UPLOT = {
    "uplot.js": (
        "uplot.iife.min.js",
        "2d27e8ad3d228164525ce213f9dc716f39b4e3aee0cc773fb3491c96cf4921a2",
    ),
    "uplot.css": ("uplot.min.css", "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04"),
}
OWN = {name: HERE / name for name in ("console.js", "console.css", "icon.svg")}
TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}


class AssetError(InstallationError):
    """A file for browsers is missing, or is not the one that was reviewed."""


class Asset(NamedTuple):
    """A file with its media type."""

    body: bytes
    media_type: str


def load_assets() -> dict[str, Asset]:
    """Return each file by its name. Raises AssetError."""
    try:
        package = distribution(PACKAGE)
    except PackageNotFoundError as exc:
        raise AssetError(f"{PACKAGE} {VERSION} is not installed: pip install 'macaw-streams[server]'") from exc
    found = {name: path.read_bytes() for name, path in OWN.items()}
    for name, (place, digest) in UPLOT.items():
        try:
            body = Path(str(package.locate_file(f"{PACKAGE}/vendor/{place}"))).read_bytes()
        except OSError as exc:
            raise AssetError(f"{place} cannot be read: {exc.strerror}; install {PACKAGE} {VERSION} again") from exc
        if sha256(body).hexdigest() != digest:
            raise AssetError(f"{place} is not the file that was reviewed: install {PACKAGE} {VERSION} again")
        found[name] = body
    return {name: Asset(body, TYPES[Path(name).suffix]) for name, body in found.items()}
