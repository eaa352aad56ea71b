"""Three copies of an exported folder, each changed in one way, with the verdict that must follow."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Copy:
    """A changed copy: the change, the folder of the copy, and the verdict that must follow."""

    what: str
    path: Path
    want: str


def read_entries(folder: Path, name: str = "entries.bin") -> list[bytes]:
    """Return the length-prefixed items of a file of the folder."""
    data, at, items = (folder / name).read_bytes(), 0, []
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        items.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return items


def write_entries(folder: Path, items: list[bytes], name: str = "entries.bin") -> None:
    """Write items with their length prefixes."""
    (folder / name).write_bytes(b"".join(len(item).to_bytes(4, "big") + item for item in items))


def _bit(items: list[bytes], at: int) -> list[bytes]:
    changed = bytearray(items[at])
    changed[-1] ^= 1  # in the last field, `outputs`: the outputs that the call caused
    return [*items[:at], bytes(changed), *items[at + 1 :]]


def _drop(items: list[bytes], at: int) -> list[bytes]:
    return items[:at] + items[at + 1 :]


def _swap(items: list[bytes], at: int) -> list[bytes]:
    return [*items[:at], items[at + 1], items[at], *items[at + 2 :]]


def tampered_copies(folder: Path, base: Path) -> list[Copy]:
    """Make the three copies below `base`: one bit in the middle entry, one entry dropped, two swapped."""
    at = len(read_entries(folder)) // 2
    changes: list[tuple[str, Callable[[list[bytes], int], list[bytes]], str]] = [
        (f"one bit of entry {at} is changed", _bit, f"BAD_LINK at {at + 1}"),
        (f"entry {at} is dropped", _drop, f"GAP at {at}"),
        (f"entries {at} and {at + 1} are swapped", _swap, f"GAP at {at}"),
    ]
    copies = []
    for number, (what, change, want) in enumerate(changes, 1):
        path = base / f"tampered-{number}"
        shutil.copytree(folder, path)
        write_entries(path, change(read_entries(path), at))
        copies.append(Copy(what, path, want))
    return copies
