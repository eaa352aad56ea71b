"""An engine host for tests: as `streams.history.engine_host`, with other engines, or with a fault."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))


def main(how: str) -> int:
    """Serve with the engines of a name, or misbehave."""
    answers = sys.stdout.buffer
    match how:
        case "silent":
            time.sleep(60)
        case "noise":
            answers.write(b"Hello, world!\n" * 100)
            answers.flush()
            time.sleep(60)
        case "huge":
            answers.write((2**32 - 1).to_bytes(4, "big") + b"x" * 100)
            answers.flush()
            time.sleep(60)
        case "gone":
            print("no such library", file=sys.stderr)
            return 3
        case _:
            from processors.state.engines import installed
            from streams.history.engine_host import serve
            from tests.engines import ONLY_LATER, ONLY_LATER_TOO, STRICTER, WITH_LATER

            held = {"later": ONLY_LATER, "both": WITH_LATER, "later too": ONLY_LATER_TOO, "stricter": STRICTER}
            return serve(sys.stdin.buffer, answers, held.get(how, installed()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
