"""One SHA-256 over everything that the verifiers of texts say of the corpora: the same on every Python and processor.

`python -m bench.quality.determinism CORPORA [EACH]` reads at most EACH rows of each corpus (all of them without it). To
compare processors, run it once more as `qemu-x86_64 -cpu Haswell PYTHON -m bench.quality.determinism CORPORA EACH`.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from bench.quality.rows import leaves, read
from processors.calls.verifiers.trial import tried
from processors.proof import jcs
from schemas.words import Surface

NAMES = ("pi_", "ci_", "sh_", "pii_", "benign_")


def outputs(corpora: Path, each: int | None) -> Iterator[bytes]:
    """Yield the canonical JSON of each text's answers and stamps, on both surfaces."""
    for path in sorted(corpora.glob("*.jsonl")):
        if path.stem.startswith(NAMES):
            for row in read(corpora, path.stem)[:each]:
                for text in leaves(row):
                    for surface in (Surface.ARGUMENTS, Surface.RESULT):
                        verified = tried(text, surface)
                        answers = [repr(one) for one in verified.answers]
                        yield jcs.canonical(
                            {"answers": answers, "stamps": dict(verified.stamps), "broke": verified.broke}
                        )


def main() -> None:
    """Print the digest, and the number of outputs that it covers."""
    digest, count = sha256(), 0
    for one in outputs(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None):
        digest.update(sha256(one).digest())
        count += 1
    print(digest.hexdigest(), count, platform.python_version())


if __name__ == "__main__":
    main()
