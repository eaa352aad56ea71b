"""The house is counted: rooms, floors and circles, names that mean two things, docstrings that speak in riddles.

The bounds are ratchets: a change may lower them, and then writes the lower number here.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house import PACKAGES, ROOT, Shape, arrows_of, circles_of, floors_of, shape_of, sources

# At most so many rooms and floors. No package has a circle.
BOUNDS = {
    "schemas": (14, 6),
    "processors": (15, 12),
    "processors/policy": (43, 18),
    "producers": (6, 4),  # an agent joins clients and tools, which stay apart below it
    "streams": (15, 4),  # a service beside the trust path has a room of its own
    "streams/worker": (18, 7),
    "streams/views": (15, 5),
    "macaw": (10, 4),  # shipped verifiers stand on the shape of verifiers, and that on the shape of a call
    "macaw_client": (16, 4),
    "macaw/cli": (37, 6),
    "macaw/policies": (17, 6),
}
SHARED_NAMES_MAX = 2
RIDDLES_MAX = 0.02  # of all docstrings
RIDDLE = re.compile(r"\b(what|whatever|who|whoever|whom|whose|nobody)\b", re.IGNORECASE)


@pytest.mark.parametrize("package", BOUNDS)
def test_a_package_has_few_rooms_in_one_order(package: str) -> None:
    """A room imports only rooms below it."""
    arrows = arrows_of(ROOT / package)
    rooms_max, floors_max = BOUNDS[package]

    assert circles_of(arrows) == []
    assert len(arrows) <= rooms_max
    assert floors_of(arrows) <= floors_max


def test_the_counts_are_those_of_the_imports(tmp_path: Path) -> None:
    """A circle, a chain and a folder, in a package made for it."""
    package = tmp_path / "house"
    (package / "folder").mkdir(parents=True)
    for name, text in {
        "__init__.py": "",
        "top.py": "from house.folder import inner\nfrom house.left import Left\n",
        "left.py": "import house.right\n",
        "right.py": "def f() -> None:\n    from house.left import Left\n",
        "folder/__init__.py": "",
        "folder/inner.py": "from house.folder import other\n",
        "folder/other.py": "import json\n",
    }.items():
        (package / name).write_text(text, "utf-8")
    arrows = arrows_of(package, tmp_path)

    assert arrows == {"top": {"folder", "left"}, "left": {"right"}, "right": {"left"}, "folder": set()}
    assert circles_of(arrows) == [{"left", "right"}]
    assert floors_of({**arrows, "right": set()}) == 3
    assert shape_of(arrows) == Shape(rooms=4, floors=0, arrows=4, circles=1)


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in sources(*PACKAGES):
        yield path, ast.parse(path.read_text("utf-8"))


def test_few_public_classes_share_a_name() -> None:
    """One name, one thing."""
    places = defaultdict(set)
    for path, tree in trees():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].add(str(path.relative_to(ROOT)))
    shared = {name: sorted(files) for name, files in places.items() if len(files) > 1}

    assert len(shared) <= SHARED_NAMES_MAX, shared


def docstrings() -> Iterator[tuple[str, str]]:
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                if text:
                    yield f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}", text


def test_few_docstrings_put_a_clause_where_a_noun_should_be() -> None:
    """Most of what, who, whoever and nobody in a docstring hides a noun (docs/style.md)."""
    found = list(docstrings())
    riddles = [place for place, text in found if RIDDLE.search(text)]

    assert len(riddles) / len(found) <= RIDDLES_MAX, f"{len(riddles)} of {len(found)}"
