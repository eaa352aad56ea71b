"""Errors as sentences. An error of this project says what to do next by itself; others get that here."""

from __future__ import annotations

from schemas.errors import InputError, MacawError


class CommandError(InputError):
    """A command cannot do what it was asked; the message is the sentence."""


def sentence(exc: Exception) -> str:
    """Return what went wrong and what to do next, in one line.

    Of an error that nobody foresaw only the kind is told: its message might quote anything.
    """
    from confluent_kafka import KafkaException

    from processors.policy.errors import PolicyError
    from producers.client import UnknownOutcomeError
    from streams.worker.lanes import WorkerFencedError, WorkerStuckError

    match exc:
        case UnknownOutcomeError():
            text = f"{exc}; see whether it took effect before you ask again"
        case PolicyError():
            text = f"the policy is refused: {exc}"
        case WorkerStuckError():
            text = f"the brokers do not answer: {exc}; start it again"
        case WorkerFencedError():
            text = f"this worker was replaced, or cannot know whether it was: {exc}; start it again"
        case KafkaException():
            text = f"the brokers do not do what was asked: {exc.args[0].str()}; see whether they run"
        case OSError() if exc.filename is not None:
            text = f"cannot use {exc.filename}: {exc.strerror}"
        case MacawError():
            text = str(exc)  # written for people; what it quotes of others is escaped where it is printed
        case _:
            text = (
                f"unexpected {type(exc).__name__}: whether the command took effect is not known, so look before you "
                "repeat one that acts; MACAW_DEBUG=1 shows where it happens: report it"
            )
    return text
