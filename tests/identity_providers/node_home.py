"""The package `oidc-provider` from npm, installed once into the cache by its lock file."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.identity_providers.keycloak_home import choose_home as choose_keycloak_home
from tests.identity_providers.keycloak_home import locked

SOURCE: Final = Path(__file__).with_name("node")
LOCK_FILE: Final = "package-lock.json"
NODE_MAJOR_MIN: Final = 20
NPM_SECONDS_MAX: Final = 300.0
NODE_SECONDS_MAX: Final = 20.0
MESSAGE_CHARS_MAX: Final = 500
NO_NODE: Final = f"install Node.js {NODE_MAJOR_MIN} or later, with npm"


class NodePackagesError(Exception):
    """npm could not install the packages."""


def choose_home() -> Path:
    """Return the folder of the cache. Its name holds the digest of the lock file."""
    digest = hashlib.sha256((SOURCE / LOCK_FILE).read_bytes()).hexdigest()
    return choose_keycloak_home().parent / f"oidc-provider-{digest[:16]}"


def why_no_node(home: Path) -> str | None:
    """Return why the provider cannot run here, None if it can. Nothing is fetched, so npm may still fail later."""
    node = shutil.which("node")
    if node is None:
        return NO_NODE
    told = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=NODE_SECONDS_MAX, check=False)
    found = re.match(r"v(\d+)", told.stdout)
    if found is None or int(found[1]) < NODE_MAJOR_MIN:
        return f"`node --version` says {told.stdout.strip() or 'nothing'}: {NO_NODE}"
    return None if is_ready(home) or shutil.which("npm") else NO_NODE


def is_ready(home: Path) -> bool:
    return (home / "ready").exists()


def prepare(home: Path) -> Path:
    """Let npm install the packages, unless the cache has them; other processes wait. Raises NodePackagesError."""
    if is_ready(home):
        return home
    npm = shutil.which("npm")
    if npm is None:
        raise NodePackagesError(NO_NODE)
    home.parent.mkdir(parents=True, exist_ok=True)
    with locked(home.parent / f"{home.name}.lock"):
        if not is_ready(home):
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir()
            for name in ("package.json", LOCK_FILE):
                shutil.copy(SOURCE / name, home / name)
            _install(npm, home)
            (home / "ready").touch()  # last: a cache without it is made again
    return home


def _install(npm: str, home: Path) -> None:
    # The packages need no scripts of their own to be run.
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        subprocess.run(
            command,
            cwd=home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=NPM_SECONDS_MAX,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        told = (str(error.stdout) + str(error.stderr)).strip()[-MESSAGE_CHARS_MAX:]
        raise NodePackagesError(f"`npm ci` failed for oidc-provider: {told}") from error
    except subprocess.TimeoutExpired as error:
        raise NodePackagesError(f"`npm ci` did not end within {NPM_SECONDS_MAX:.0f} s for oidc-provider") from error
