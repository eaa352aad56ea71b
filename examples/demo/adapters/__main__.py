"""`python -m examples.demo.adapters`: the original's OpenAI adapter, as it lies on PyPI, over this log."""

import sys

from examples.demo.adapters.run import play
from examples.demo.command import main

if __name__ == "__main__":
    sys.exit(
        main(
            play,
            program="examples.demo.adapters",
            description="Run the original's OpenAI adapter (macaw-adapters from PyPI, unchanged) over this log, with a "
            "local model server: a service, a person, a service bound to a person, streams, tools, denials. The exit "
            "status is 0 only if everything held.",
        )
    )
