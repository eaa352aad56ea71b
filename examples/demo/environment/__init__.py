"""Real stores for the demo's tools: a bank, a mailbox, a calendar and a drive, seeded the same way every time."""

from examples.demo.environment.journal import Effect
from examples.demo.environment.seeds import SUITES, Environment, build_environment, open_environment

__all__ = ["SUITES", "Effect", "Environment", "build_environment", "open_environment"]
