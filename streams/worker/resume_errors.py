"""Why a partition cannot be resumed. The loop pauses the partition and prefixes the message with the code."""

from __future__ import annotations

from typing import Any

from schemas.errors import StoppedError


class ResumeError(StoppedError):
    """The partition cannot be resumed and stays paused. With `is_passing` the worker tries again."""

    code = "RESUME_FAILED"
    is_passing = True


class NotConfiguredError(ResumeError):
    """The tenant's keys are missing on this worker, or cannot be read."""

    code = "NOT_CONFIGURED"


class ResumeMismatchError(ResumeError):
    """Intake and the log do not fit: the log lacks consumed records, or intake lost records."""

    code = "RESUME_MISMATCH"
    is_passing = False


class LogMismatchError(ResumeError):
    """Folding intake again does not give the audit log: one of the two was changed."""

    code = "LOG_MISMATCH"
    is_passing = False


class StateMismatchError(ResumeError):
    """The state of the last audit entry cannot be had: not from the changelog, from intake or from an archive."""

    code = "STATE_MISMATCH"
    is_passing = False


class ArchiveUnfitError(ResumeError):
    """The state must be folded again, and the archive of intake does not fit; `code` is that of its own error."""

    is_passing = False

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class NoEngineError(ResumeError):
    """The tenant decides by an engine that is not installed on this worker."""

    code = "ENGINE_MISSING"
    is_passing = False


class WaitError(ResumeError):
    """The next record cannot be folded yet, for want of a key or an engine: `code` says of which.

    `wait`, a `signing.stretch.Wait`, is asked at the next attempt, before the state is read again.
    """

    def __init__(self, code: str, why: str, wait: Any) -> None:
        super().__init__(why)
        self.code = code
        self.wait = wait
