"""Software that some tests need and a machine may lack: such a test is skipped, counted apart, and named at the end.

A test that needs Apache Kafka is not among them: the gate has a broker, and fails where one is missing.
"""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

OPTIONAL = "not installed here: "
REQUIRE_PROVIDERS = "MACAW_REQUIRE_REAL_PROVIDERS"
"""With 1, as in the gate, a test that needs a real identity provider fails where it would be skipped."""
REQUIRE_CONFORMANCE = "MACAW_REQUIRE_CONFORMANCE"
"""With 1, as in the gate, a test that needs packages of MCP or TypeScript from npm fails where it would be skipped."""


def skip_without(what: str, how: str) -> NoReturn:
    """Skip the test for want of `what`; `how` is the command or the page that installs it."""
    pytest.skip(f"{OPTIONAL}{what} ({how})")


def skip_without_provider(what: str, how: str) -> NoReturn:
    """Skip the test for want of an identity provider, or fail it where all of them are required."""
    _skip_unless(REQUIRE_PROVIDERS, what, how)


def skip_without_conformance(how: str) -> NoReturn:
    """Skip the test for want of the conformance suite of MCP, or fail it where it is required."""
    _skip_unless(REQUIRE_CONFORMANCE, "the conformance suite of MCP", how)


def skip_without_typescript(how: str) -> NoReturn:
    """Skip the test for want of TypeScript from npm, or fail it where the packages of npm are required."""
    _skip_unless(REQUIRE_CONFORMANCE, "TypeScript", how)


def _skip_unless(required: str, what: str, how: str) -> NoReturn:
    if os.environ.get(required) == "1":
        pytest.fail(f"{required}=1, but there is no {what.removeprefix('the ')} ({how})", pytrace=False)
    skip_without(what, how)


def wants(reports: list[pytest.TestReport]) -> list[str]:
    """Return what was missing of the reports that were skipped for optional software."""
    texts = [report.longrepr[2] if isinstance(report.longrepr, tuple) else "" for report in reports]
    return [text.partition(OPTIONAL)[2] for text in texts if OPTIONAL in text]
