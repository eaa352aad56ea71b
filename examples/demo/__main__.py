"""`python -m examples.demo`: play recorded attacks on real tools and check the claims."""

import sys

from examples.demo.command import main
from examples.demo.run import play

if __name__ == "__main__":
    sys.exit(
        main(
            play,
            program="examples.demo",
            description="Play recorded attacks on real tools and check the claims of the demo. "
            "The exit status is 0 only if everything held.",
        )
    )
