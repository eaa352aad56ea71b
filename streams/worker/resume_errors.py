"""Why a partition cannot be resumed. The loop pauses it with the code, and the others go on."""

from __future__ import annotations

from schemas.errors import StoppedError


class ResumeError(StoppedError):
    """The partition cannot be resumed; it stays paused. One that may pass is tried again."""

    code = "RESUME_FAILED"
    is_passing = True


class NotConfiguredError(ResumeError):
    """The tenant has no keys on this worker, or they cannot be read."""

    code = "NOT_CONFIGURED"


class ResumeMismatchError(ResumeError):
    """Intake and the log do not meet: records were consumed that the log does not hold, or were lost unread."""

    code = "RESUME_MISMATCH"
    is_passing = False


class LogMismatchError(ResumeError):
    """Folding intake again does not give the audit log: one of the two was changed."""

    code = "LOG_MISMATCH"
    is_passing = False


class StateMismatchError(ResumeError):
    """The changelog does not give the state of the last audit entry, and nothing else does either."""

    code = "STATE_MISMATCH"
    is_passing = False
