"""`python -m examples.demo.identity`: people log in at a real provider, an agent acts for them, one is revoked."""

import sys

from examples.demo.command import main
from examples.demo.identity.run import play

if __name__ == "__main__":
    sys.exit(
        main(
            play,
            program="examples.demo.identity",
            description="Let people log in at a real identity provider (Keycloak where Java is, else nanoidp), and an "
            "agent act for them, until one is revoked. The exit status is 0 only if everything held.",
        )
    )
