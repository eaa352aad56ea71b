"""Real stores for the demo's tools: a bank, a mailbox, a calendar and a drive, seeded the same way every time."""

from macaw.demo.environment.journal import Effect
from macaw.demo.environment.seeds import SUITES, Environment, build_environment, open_environment

__all__ = ["SUITES", "Effect", "Environment", "build_environment", "open_environment"]
