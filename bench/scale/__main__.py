"""`python -m bench.scale --broker kafka [--quick] [--part workers|quiet|restart|length]`."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.scale.report import OUT, PARTS, run


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--broker", choices=("kafka",), default="kafka", help="groups of several members need Kafka")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, shorter logs")
    parser.add_argument("--part", choices=tuple(PARTS), action="append", help="only this; may be given again")
    parser.add_argument("--out", type=Path, default=OUT)
    chosen = parser.parse_args()
    run(quick=chosen.quick, parts=chosen.part or tuple(PARTS), out=chosen.out)


if __name__ == "__main__":
    main()
