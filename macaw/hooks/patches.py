"""The files that a patch of Codex (`apply_patch`) touches."""

from __future__ import annotations

from typing import Final

from macaw.hooks.faults import UnreadableUseError

FILES_MAX = 64
VERBS: Final = {
    "*** Add File: ": "add",
    "*** Update File: ": "update",
    "*** Delete File: ": "delete",
    "*** Move to: ": "move",
}
FRAME = frozenset({"*** Begin Patch", "*** End Patch", "*** End of File"})


def touched(patch: str) -> list[tuple[str, str]]:
    """Return (verb, path as it is written) of every file that a patch names, in order.

    A line is read as Codex's laxest reader would: blanks around it do not count, so a line of a file's content may be
    taken for a file that is touched, and never the other way round.

    Raises:
        UnreadableUseError: it names no file or more than FILES_MAX, or has a line of the frame that is not known here.
    """
    found: list[tuple[str, str]] = []
    for line in patch.split("\n"):
        bare = line.strip()
        if not bare.startswith("***") or bare in FRAME:
            continue
        verb = next((verb for mark, verb in VERBS.items() if bare.startswith(mark)), None)
        if verb is None:
            raise UnreadableUseError("a patch has a line of three stars that is not known: its files are not certain")
        path = bare.split(": ", 1)[1]
        if not path or path != path.strip() or not path.isprintable():
            raise UnreadableUseError("a patch names a file whose name is empty, begins with a blank, or does not show")
        found.append((verb, path))
    if not found:
        raise UnreadableUseError("a patch names no file")
    if len(found) > FILES_MAX:
        raise UnreadableUseError(f"a patch names {len(found)} files, more than {FILES_MAX}: split it")
    return found
