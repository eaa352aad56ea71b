"""The shape of a package, counted from its imports alone.

A *room* of a package is a module or a folder that lies directly in it. A room points at another if any module in it
imports one of the other's. `python -m tests.house` prints the counts of every package.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("schemas", "processors", "producers", "streams", "macaw", "macaw_client", "macaw_agent")

Arrows = Mapping[str, set[str]]


class Shape(NamedTuple):
    """`rooms` counts modules and folders, `floors` the rooms in the longest chain of imports (0 if there is a
    circle)."""

    rooms: int
    floors: int
    arrows: int
    circles: int


def sources(*folders: str) -> list[Path]:
    """Return every Python file below some folders of the repository, in order."""
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def arrows_of(package: Path, root: Path = ROOT) -> dict[str, set[str]]:
    """Return for each room of a package the other rooms of it that it imports."""
    modules = {".".join(path.relative_to(root).with_suffix("").parts): path for path in package.rglob("*.py")}
    prefix = ".".join(package.relative_to(root).parts) + "."
    rooms: dict[str, set[str]] = {}
    for name, path in modules.items():
        room = name.removeprefix(prefix).split(".")[0]
        if room == "__init__":
            continue
        targets = {t.removeprefix(prefix).split(".")[0] for t in imported(path) if t.startswith(prefix)}
        rooms.setdefault(room, set()).update(targets - {room})
    return {room: {t for t in targets if t in rooms} for room, targets in rooms.items()}


def imported(path: Path) -> Iterator[str]:
    """Yield every name that a module imports, as a dotted path: a module's or that of something in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def circles_of(arrows: Arrows) -> list[set[str]]:
    """Return each set of rooms that import one another, directly or through others."""

    def behind(room: str) -> set[str]:
        seen: set[str] = set()
        waiting = list(arrows[room])
        while waiting:
            one = waiting.pop()
            if one not in seen:
                seen.add(one)
                waiting += arrows[one]
        return seen

    reached = {room: behind(room) for room in arrows}
    circles: list[set[str]] = []
    for room in arrows:
        circle = {other for other in reached[room] if room in reached[other]}
        if circle and circle not in circles:
            circles.append(circle)
    return circles


def floors_of(arrows: Arrows) -> int:
    """Return how many rooms the longest chain of imports has; 0 if there is a circle."""
    floor: dict[str, int] = {}
    try:
        for room in TopologicalSorter(arrows).static_order():
            floor[room] = 1 + max((floor[target] for target in arrows[room]), default=0)
    except CycleError:
        return 0
    return max(floor.values(), default=0)


def shape_of(arrows: Arrows) -> Shape:
    """Return the counts of a package's rooms."""
    return Shape(len(arrows), floors_of(arrows), sum(map(len, arrows.values())), len(circles_of(arrows)))


if __name__ == "__main__":
    for name in PACKAGES:
        found = arrows_of(ROOT / name)
        print(f"{name}: {shape_of(found)}", *(sorted(circle) for circle in circles_of(found)))
