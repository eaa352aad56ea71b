"""A verifier in processes of its own: a judge that hangs, or ends its process, costs the host one call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from macaw.security.verification.processes import JudgingProcesses
from macaw.security.verification.serving import judge_in
from producers.tools.asked_calls import AskedCall
from producers.tools.opinions import JudgeFailedError, Opinion

MODULE = """
import os
from macaw.security.verification.result import VerificationResult
from macaw.security.verification.verifier import Verifier

class Odd(Verifier):
    stamps = {"size": "huge"}

    def verify(self, invocation, context=None):
        does = invocation.params["does"]
        while does == "hang":
            pass
        if does == "end":
            os._exit(3)
        if does == "raise":
            raise ValueError("hunter2")
        odd = {"more": lambda: 1} if does == "odd" else {}
        return VerificationResult(True, stamps={"size": "small", **odd})
"""
GOOD = Opinion("pass", {"size": "small"})


def call(does: str) -> AskedCall:
    parameters: dict[str, Any] = {"does": does}
    return AskedCall(bytes(16), bytes(32), "bot", ("bot",), "tool:bank/pay", parameters, bytes(32), bytes(32))


def test_a_judge_that_hangs_or_ends_is_replaced_and_the_next_call_is_judged(tmp_path: Path) -> None:
    path = tmp_path / "odd.py"
    path.write_text(MODULE)
    judges = JudgingProcesses(judge_in, str(path), count=1, timeout_seconds=1.0)
    try:
        for does, failure in (
            ("hang", "TimeoutError"),
            ("end", "ProcessEnded"),
            ("raise", "ValueError"),
            ("odd", ""),
            ("hang", "TimeoutError"),
        ):
            with pytest.raises(JudgeFailedError) as told:
                judges(call(does))
            assert told.value.failure == failure or (does == "odd" and told.value.failure)
            assert "hunter2" not in str(told.value)
            assert judges(call("pass")) == GOOD
    finally:
        judges.close()


def test_a_module_that_cannot_be_imported_fails_each_call_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("raise SystemExit(1)\n")
    judges = JudgingProcesses(judge_in, str(path), count=1, timeout_seconds=1.0)
    try:
        for _ in range(2):
            with pytest.raises(JudgeFailedError, match="ProcessEnded"):
                judges(call("pass"))
    finally:
        judges.close()
