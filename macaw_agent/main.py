"""`python3 -m macaw_agent.main`: the original's way to start its process on a machine. It is `macaw up`."""

from __future__ import annotations

import sys

from macaw.cli.entry import main


def run() -> int:
    """Run `macaw up` with the given options, and return its exit status."""
    print("macaw_agent.main is `macaw up`: broker, monitor, bridge, views and archive", file=sys.stderr, flush=True)
    return main(["up", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(run())
