"""A token of its own for a test: SoftHSM, from Debian's package softhsm2, in a folder of the test."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from producers.home.keystores import token_session

LIBRARIES = tuple(
    f"/usr/{folder}/libsofthsm2.so" for folder in ("lib/softhsm", "lib64/pkcs11", "local/lib/softhsm", "lib64/softhsm")
)
PIN = "a-pin-of-the-tests"


@dataclass(frozen=True)
class SoftHSM:
    """The tokens of one folder, which holds the file of the PIN too."""

    folder: Path
    module: str

    @classmethod
    def make(cls, folder: Path, module: str) -> SoftHSM:
        """Return a place for tokens. The caller sets its `environment` before the library is loaded."""
        (folder / "tokens").mkdir(parents=True)
        lines = (f"directories.tokendir = {folder / 'tokens'}", "objectstore.backend = file", "log.level = ERROR")
        (folder / "softhsm2.conf").write_text("\n".join(lines) + "\n")
        made = cls(folder, module)
        made.set_pin(PIN)
        return made

    def set_pin(self, pin: str) -> None:
        """Write the file that the tokens' URIs name."""
        path = self.folder / "pin"
        path.write_text(f"{pin}\n")
        path.chmod(0o600)

    def environment(self) -> dict[str, str]:
        """Return the variable by which the library finds its tokens."""
        return {"SOFTHSM2_CONF": str(self.folder / "softhsm2.conf")}

    def token(self, label: str) -> str:
        """Make a token and return its serial."""
        before = set(self._serials())
        self._util("--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "a-pin-of-the-officer")
        self.read_again()
        [serial] = set(self._serials()) - before
        return serial

    def read_again(self) -> None:
        """Let this process see the tokens as they are now: the library looks once, unlike those of hardware."""
        import pkcs11

        token_session._OPENED.sessions.clear()
        token_session._OPENED.refused.clear()
        pkcs11.lib(self.module).reinitialize()

    def uri(self, *attributes: str, pin: str | None = None) -> str:
        """Return the URI of a token, with the PIN's file as its source."""
        source = f"file:{self.folder / 'pin'}" if pin is None else pin
        return f"pkcs11:{';'.join(attributes)}?module-path={self.module}&pin-source={source}"

    def _serials(self) -> list[str]:
        shown = self._util("--show-slots").splitlines()
        named = [line.split(":", 1)[1].strip() for line in shown if line.strip().startswith("Serial number")]
        return [serial for serial in named if serial]

    def _util(self, *arguments: str) -> str:
        return subprocess.run(
            ["softhsm2-util", *arguments],
            env={**os.environ, **self.environment()},
            check=True,
            capture_output=True,
            text=True,
        ).stdout


def find_softhsm() -> str | None:
    """Return the path of the library, or None where the package is missing."""
    found = [path for path in LIBRARIES if Path(path).is_file()]
    return found[0] if found and shutil.which("softhsm2-util") else None
