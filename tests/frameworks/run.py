"""Run the tests of each framework in an environment of its own: `python -m tests.frameworks.run [NAME …]`.

The frameworks pin what the others exclude, so each has its own constraints and its own folder below `.frameworks/`. An
environment is made once, and made anew when its constraints or the project's dependencies change.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
NAMES = ("anthropic", "langchain", "openai", "openai-agents", "pydantic-ai")
TESTED_WITH = ("pytest", "pytest-timeout", "httpx")
WARNINGS = ("-o", "filterwarnings=default")  # the frameworks warn of themselves, and the gate is not of them


def constraints_of(name: str) -> Path:
    return HERE / "constraints" / f"{name}.txt"


def tests_of(name: str) -> Path:
    return HERE / f"test_{name.replace('-', '_')}.py"


def environment_of(name: str) -> Path:
    """Return the Python of a framework's environment, made if it is not there as the constraints want it."""
    folder = ROOT / ".frameworks" / name
    python, stamp = folder / "bin" / "python", folder / "installed"
    wanted = hashlib.sha256(constraints_of(name).read_bytes() + (ROOT / "pyproject.toml").read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run(
        [
            *(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("-c", str(constraints_of(name)), "-e", f"{ROOT}[server,{name}]", *TESTED_WITH),
        ],
        check=True,
    )
    stamp.write_text(wanted)
    return python


def main(names: list[str]) -> int:
    """Return 0 if the tests of all these frameworks passed."""
    broker = os.environ.get("MACAW_TEST_BROKER", "embedded")
    failed = []
    for name in names or NAMES:
        python = environment_of(name)
        environ = {**os.environ, "MACAW_TEST_BROKER": broker, "MACAW_FRAMEWORK": name}
        ran = subprocess.run(
            [str(python), "-m", "pytest", "-q", *WARNINGS, str(tests_of(name))], cwd=ROOT, env=environ, check=False
        )
        failed += [name] * (ran.returncode != 0)
    print(f"failed: {', '.join(failed)}" if failed else "every framework passed")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
