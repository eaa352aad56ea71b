"""The tool that plays mutants: what it says of a module is about the mutant, however the module is imported."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLAYED = """
import sys
from pathlib import Path
from tests import mutation

path = Path("processors/calls/prompts.py").resolve()
mutation._import_what_stays(path)
tree, _ = mutation.mutated("NOTHING = True", 0)
sys.meta_path.insert(0, mutation._Finder(mutation._Mutated("processors.calls.prompts", path, tree)))
from processors.calls import prompts

print(prompts.NOTHING)
"""


def test_a_mutant_is_found_through_its_package_too():
    """`from package import module` takes what hangs on the package, before it looks for the module."""
    found = subprocess.run(
        [sys.executable, "-c", PLAYED], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True,
        text=True, check=True, timeout=60,
    )  # fmt: skip

    assert found.stdout.split() == ["False"]
