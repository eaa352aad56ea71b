"""The end of each command that makes a root act: it is submitted, or written to a file for further signatures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from macaw.installation.root_acts import RootActFile
    from macaw.installation.root_keys import Roots
    from producers.home.home import Home, TenantHome

Out = Annotated[
    Path | None,
    typer.Option("--out", help="The file for an act that needs signatures from other machines.", metavar="FILE"),
]


def finish(home: Home, folder: TenantHome, roots: Roots, act: RootActFile, path: Path) -> bool:
    """Submit an act that has its signatures and return True; write any other to `path`, for custodians to sign."""
    from macaw.cli.terminal.output import say
    from macaw.installation.root_keys import missing_signatures, submit

    if lacks := missing_signatures(roots, act):
        act.save(path)
        say(f"{path} would {act.says()}")
        say(f"it cannot be submitted yet: {lacks}")
        say(f"take it to each machine with a root key: `macaw root sign {path.name}`, then `macaw root submit FILE …`")
        return False
    answer = submit(home, folder, roots, act)
    say(f"done: {act.says()}; audit entry {answer.result.audit_index} says so")
    return True
