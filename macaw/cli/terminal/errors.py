"""Errors as sentences. An error of this project names the next step itself; other errors get one here."""

from __future__ import annotations

from schemas.errors import InputError, MacawError

# Of the extra `server`.
SERVER_PACKAGES = frozenset({"aiokafka", "faust", "httpcore", "mode", "noida_db", "starlette", "uvicorn", "yarl"})


class CommandError(InputError):
    """The command cannot be carried out; the message is the sentence for the user."""


def sentence(exc: Exception) -> str:
    """Return the fault and the next step, in one line.

    An unexpected error is told by its class alone: its message might quote a secret.
    """
    from confluent_kafka import KafkaException

    from processors.policy.errors import PolicyError
    from producers.client import UnknownOutcomeError
    from streams.worker.lanes import WorkerFencedError, WorkerStuckError

    match exc:
        case UnknownOutcomeError():
            text = f"{exc}; check whether it took effect before you repeat it"
        case PolicyError():
            text = f"the policy is refused: {exc}"
        case WorkerStuckError():
            text = f"the brokers do not answer: {exc}; start the command again"
        case WorkerFencedError():
            text = f"this worker was replaced, or cannot know whether it was: {exc}; start it again"
        case KafkaException():
            text = f"Kafka refused the request: {exc.args[0].str()}; check that the brokers are running"
        case OSError() if exc.filename is not None:
            text = f"cannot use {exc.filename}: {exc.strerror}"
        case ModuleNotFoundError() if (exc.name or "").partition(".")[0] in SERVER_PACKAGES:
            text = f"the server is not installed ({exc.name} is missing): run `pip install 'macaw-streams[server]'`"
        case MacawError():
            text = str(exc)  # written for people; quotes in it are escaped when it is printed
        case _:
            text = (
                f"unexpected {type(exc).__name__}: the command may or may not have taken effect, so check before you "
                "repeat it; MACAW_DEBUG=1 shows the place of the fault: please report it"
            )
    return text
