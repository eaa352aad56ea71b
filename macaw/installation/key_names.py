"""The keys of a tenant's folder by their names: `admin`, `agents/shopper`, `tools/bank#1`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from producers.home.home import TenantHome
from schemas.errors import InputError

ROOT: Final = "root"
ORGANISATION: Final = "organisation"
NEXT: Final = "next-root"
FOUNDED: Final = (ROOT, NEXT, ORGANISATION, "admin", "monitor", "enrol")
_ROOTS: Final = re.compile(r"(next-)?root(\.[0-9a-f]{1,16})?")
KINDS: Final = ("admin", "agent", "tool", "approver", "attester", "verifier", "enrolment", "bridge", "session")


class KeyNameError(InputError):
    """A name is not that of one key here; the message says how to find the names."""


def founding_names(kind: str, count: int) -> list[str]:
    """Return the names of the root keys, or of the next ones, of a founding."""
    return [kind] if count == 1 else [f"{kind}.{n}" for n in range(1, count + 1)]


def keys_in(folder: TenantHome) -> Iterator[tuple[str, Path]]:
    """Yield the name and the file of each key, in order. Keys of single calls, and retired ones, are left out."""
    for path in sorted(folder.path.glob("*.key")):
        yield path.stem, path
    for kind in sorted(KINDS):
        for path in sorted((folder.path / f"{kind}s").glob("*.key")):
            yield f"{kind}s/{unquote(path.stem)}", path


def key_called(folder: TenantHome, name: str) -> Path:
    """Return the file of the key with a name. Raises KeyNameError."""
    found = [(one, path) for one, path in keys_in(folder) if one == name]
    if len(found) != 1:
        what = "is not the name of a key" if not found else "names more than one key"
        raise KeyNameError(f"{name!r} {what} in {folder.path}: `macaw key list` shows the names")
    return found[0][1]


def place_for(folder: TenantHome, name: str) -> Path:
    """Return where a key that is brought here goes. Raises KeyNameError, HomeError."""
    kinds, slash, rest = name.partition("/")
    if not slash and (name in FOUNDED or _ROOTS.fullmatch(name) is not None):
        return folder.path / f"{name}.key"
    if kinds.removesuffix("s") in KINDS and kinds.endswith("s") and rest:
        return folder.key_file(kinds.removesuffix("s"), rest)
    raise KeyNameError(
        f"{name!r} is not a name for a key: use {', '.join(FOUNDED)}, or one like agents/NAME, of "
        f"{', '.join(f'{kind}s' for kind in KINDS)}"
    )
