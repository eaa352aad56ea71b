"""Packages from npm that tests need, installed once into the cache by a lock file."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.identity_providers.keycloak_home import choose_home as choose_keycloak_home
from tests.identity_providers.keycloak_home import locked

LOCK_FILE: Final = "package-lock.json"
NODE_MAJOR_MIN: Final = 20
NPM_SECONDS_MAX: Final = 300.0
NODE_SECONDS_MAX: Final = 20.0
MESSAGE_CHARS_MAX: Final = 500
NO_NODE: Final = f"install Node.js {NODE_MAJOR_MIN} or later, with npm"


class NodePackagesError(Exception):
    """npm could not install the packages."""


@dataclass(frozen=True)
class Packages:
    """The packages of one lock file. `source` is the folder that has it, `what` names them for people and the cache."""

    source: Path
    what: str

    @property
    def home(self) -> Path:
        """The folder of the cache. Its name holds the digest of the lock file."""
        digest = hashlib.sha256((self.source / LOCK_FILE).read_bytes()).hexdigest()
        return choose_keycloak_home().parent / f"{self.what}-{digest[:16]}"

    @property
    def is_ready(self) -> bool:
        """Whether the cache has them."""
        return (self.home / "ready").exists()

    def why_not(self) -> str | None:
        """Return why they cannot run here, None if they can. Nothing is fetched, so npm may still fail later."""
        node = shutil.which("node")
        if node is None:
            return NO_NODE
        asked = [node, "--version"]
        told = subprocess.run(asked, capture_output=True, text=True, timeout=NODE_SECONDS_MAX, check=False)
        found = re.match(r"v(\d+)", told.stdout)
        if found is None or int(found[1]) < NODE_MAJOR_MIN:
            return f"`node --version` says {told.stdout.strip() or 'nothing'}: {NO_NODE}"
        return None if self.is_ready or shutil.which("npm") else NO_NODE

    def prepare(self) -> Path:
        """Let npm install them, unless the cache has them; other processes wait. Raises NodePackagesError."""
        home = self.home
        if self.is_ready:
            return home
        npm = shutil.which("npm")
        if npm is None:
            raise NodePackagesError(NO_NODE)
        home.parent.mkdir(parents=True, exist_ok=True)
        with locked(home.parent / f"{home.name}.lock"):
            if not self.is_ready:
                shutil.rmtree(home, ignore_errors=True)
                home.mkdir()
                for name in ("package.json", LOCK_FILE):
                    shutil.copy(self.source / name, home / name)
                self._install(npm, home)
                (home / "ready").touch()  # last: a cache without it is made again
        return home

    def _install(self, npm: str, home: Path) -> None:
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
            raise NodePackagesError(f"`npm ci` failed for {self.what}: {told}") from error
        except subprocess.TimeoutExpired as error:
            raise NodePackagesError(f"`npm ci` did not end within {NPM_SECONDS_MAX:.0f} s for {self.what}") from error
