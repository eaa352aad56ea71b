"""Other Pythons of this machine, each with the libraries that the fold needs, in an environment that is kept.

An interpreter is found as `python3.12` on the path, or among pyenv's versions. Its environment is made once, outside
the checkout: a folder in the user's cache, named by everything that it was made from.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.house import ROOT

VERSIONS = ("3.11", "3.12", "3.13")  # those of `classifiers` in pyproject.toml
NEEDED = (  # by the fold and the offline verifier
    *("fastavro", "google-re2", "orjson", "PyNaCl", "tzdata"),
    *("detect-secrets", "jsonschema-rs", "phonenumbers", "pyatr", "tree-sitter", "tree-sitter-bash"),
)
COMMAND_LINE = ("typer", "rich")  # by `macaw audit verify`
MAKING_SECONDS_MAX = 300.0
RUNNING_SECONDS_MAX = 300.0
_TOLD_CHARS_MAX = 500
_ASK = "import platform, sys; print(sys.executable, platform.python_version())"


class NoInterpreterError(Exception):
    """The Python is not installed here, or its environment could not be made; says which and why."""


def environment_of(version: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Return the Python of an environment with the pinned libraries, made now if it is not there.

    Raises:
        NoInterpreterError: there is no such Python, or pip could not fill the environment.
    """
    base, full = _interpreter(version, environ)
    pins = [line for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if line]
    made_from = "\n".join([str(base), full, *NEEDED, *COMMAND_LINE, *pins])
    caches = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = caches / "macaw" / f"python-{full}-{hashlib.sha256(made_from.encode()).hexdigest()[:16]}"
    complete = folder / "complete"
    if not complete.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / "lock"):
            if not complete.exists():  # another process may have made it while we waited
                _make(base, folder / "env")
                complete.touch()
    return folder / "env" / "bin" / "python"


def run(python: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a Python in the checkout, without leaving compiled files there, and return what it printed."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [str(python), *arguments],
        env={**kept, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **environ},
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=RUNNING_SECONDS_MAX,
        check=False,
    )


def _interpreter(version: str, environ: Mapping[str, str]) -> tuple[Path, str]:
    """Return the executable of a version and the version in full. Raises NoInterpreterError."""
    for candidate in _candidates(version, environ):
        try:
            done = subprocess.run([candidate, "-c", _ASK], capture_output=True, text=True, timeout=20, check=True)
        except (OSError, subprocess.SubprocessError):
            continue  # pyenv's shims stand on the path for versions that are not switched on
        executable, _, full = done.stdout.strip().rpartition(" ")
        if full.startswith(f"{version}."):
            return Path(executable), full
    raise NoInterpreterError(f"Python {version} is not installed here: put python{version} on the path")


def _candidates(version: str, environ: Mapping[str, str]) -> Iterator[str]:
    if (found := shutil.which(f"python{version}", path=environ.get("PATH"))) is not None:
        yield found
    root = Path(environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from map(str, sorted(root.glob(f"versions/{version}.*/bin/python"), reverse=True))


def _make(base: Path, env: Path) -> None:
    shutil.rmtree(env, ignore_errors=True)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", str(ROOT / "constraints.txt")]
    for command in (
        [str(base), "-m", "venv", str(env)],
        [str(env / "bin" / "python"), *install, *NEEDED, *COMMAND_LINE],
    ):
        try:
            subprocess.run(command, capture_output=True, text=True, timeout=MAKING_SECONDS_MAX, check=True)
        except subprocess.CalledProcessError as error:
            told = (error.stdout + error.stderr).strip()[-_TOLD_CHARS_MAX:]
            raise NoInterpreterError(f"no environment for {base}: `{' '.join(command[:4])}` said: {told}") from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NoInterpreterError(f"no environment for {base}: {error}") from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
