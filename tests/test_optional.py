"""A skip for optional software is told apart from one that the gate must not accept."""

import pytest

from tests.optional import OPTIONAL, skip_without, wants


def report(reason: str) -> pytest.TestReport:
    return pytest.TestReport("n", ("f", 1, "n"), {}, "skipped", ("f", 1, f"Skipped: {reason}"), "setup")


def test_only_what_is_named_so_is_optional():
    """A skip with any other reason stays one that fails the gate."""
    with pytest.raises(pytest.skip.Exception, match=OPTIONAL) as skipped:
        skip_without("SoftHSM", "apt-get install softhsm2")

    assert wants([report(str(skipped.value)), report("needs Apache Kafka: fencing")]) == [
        "SoftHSM (apt-get install softhsm2)"
    ]
