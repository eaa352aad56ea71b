"""`python -m examples.demo.verifiers`: one attack for each verifier, on a real installation."""

import sys

from examples.demo.command import main
from examples.demo.verifiers.run import play

if __name__ == "__main__":
    sys.exit(
        main(
            play,
            program="examples.demo.verifiers",
            description="Try one attack for each verifier of calls and results, each beside an innocent call that must "
            "pass, then a policy that reads stamps and a tool that declares schemas. The exit status is 0 only if "
            "everything held.",
        )
    )
