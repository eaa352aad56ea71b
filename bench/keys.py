"""Keys at rest: the time to open one, and what a token costs the one that signs with it. `python -m bench.keys`.

The token is SoftHSM in a folder of its own (Debian's softhsm2): a lower bound, since it does all its work in this
process. A token of hardware adds its own latency to each signature, and a monitor makes one for a burst.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from processors.proof.sealing import SealingKey
from producers.home.keys import KeyPair
from producers.home.keystores.stores import KeyStores
from schemas import limits
from tests.softhsm import SoftHSM, find_softhsm

PASSES = 7
BURSTS = (1, 256, limits.HEAD_LEAVES_MAX)


def main() -> None:
    """Measure and print."""
    table = Table("key", "what", "µs", "in a second")
    with tempfile.TemporaryDirectory() as folder:
        for name, stores in _stores(Path(folder)).items():
            path = Path(folder) / f"{name}.key"
            pair = stores.create(path, "monitor")
            rows = {"open": _micros(lambda s=stores, p=path: s.load(p), 3), **_uses(pair)}  # type: ignore[misc]
            for what, micros in rows.items():
                table.add_row(name, what, f"{micros:,.0f}", f"{1e6 / micros:,.0f}")
    Console(width=100).print(table)


def _stores(folder: Path) -> dict[str, KeyStores]:
    passphrase = folder / "passphrase"
    passphrase.write_text("a passphrase of the bench\n")
    passphrase.chmod(0o600)
    sections: dict[str, dict[str, object]] = {
        "file": {},
        "passphrase": {"default": "passphrase", "passphrase": f"file:{passphrase}"},
    }
    module = find_softhsm()
    if module is None:
        print("no token: SoftHSM is not installed")
    else:
        place = SoftHSM.make(folder / "softhsm", module)
        os.environ.update(place.environment())
        place.token("bench")
        sections["token"] = {"default": "hsm", "tokens": {"hsm": place.uri("token=bench")}}
    return {name: KeyStores.read(section, folder) for name, section in sections.items()}


def _uses(pair: KeyPair) -> dict[str, float]:
    leaves = [os.urandom(32) for _ in range(max(BURSTS))]
    other = SealingKey.from_secret(os.urandom(32)).public
    return {
        "sign": _micros(lambda: pair.signing.sign(leaves[0]), 200),
        **{
            f"sign a burst of {size:,}": _micros(lambda size=size: pair.signing.sign_leaves(leaves[:size]), 5)  # type: ignore[misc]
            for size in BURSTS
        },
        "share a key with a recipient": _micros(lambda: pair.sealing.shared_with(other), 100),
    }


def _micros(act: Callable[[], object], times: int) -> float:
    """Return the best over passes of the mean time of an act, in µs of the wall clock: a token is waited for."""
    means = []
    for _ in range(PASSES):
        begin = time.perf_counter()
        for _ in range(times):
            act()
        means.append((time.perf_counter() - begin) / times)
    return 1e6 * min(means)


if __name__ == "__main__":
    main()
