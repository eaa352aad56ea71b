"""`python -m examples.demo.workflow`: play an invoice from the mail to the confirmation and check the claims."""

import sys

from examples.demo.command import main
from examples.demo.workflow.run import play

if __name__ == "__main__":
    sys.exit(
        main(
            play,
            program="examples.demo.workflow",
            description="Play an invoice from the mail to the confirmation; in a terminal a person approves. "
            "The exit status is 0 only if everything held.",
        )
    )
