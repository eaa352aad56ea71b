"""Software that some tests need and a machine may lack: such a test is skipped, counted apart, and named at the end.

A test that needs Apache Kafka is not among them: the gate has a broker, and fails where one is missing.
"""

from __future__ import annotations

from typing import NoReturn

import pytest

OPTIONAL = "not installed here: "


def skip_without(what: str, how: str) -> NoReturn:
    """Skip the test for want of `what`; `how` is the command or the page that installs it."""
    pytest.skip(f"{OPTIONAL}{what} ({how})")


def wants(reports: list[pytest.TestReport]) -> list[str]:
    """Return what was missing of the reports that were skipped for optional software."""
    texts = [report.longrepr[2] if isinstance(report.longrepr, tuple) else "" for report in reports]
    return [text.partition(OPTIONAL)[2] for text in texts if OPTIONAL in text]
