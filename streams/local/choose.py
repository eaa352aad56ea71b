"""Finds a broker: the one the environment names, else Apache Kafka on a local Java, else the embedded.

This is the front of `streams.brokers`; import from here. A broker in a container can take its place
between the first two without a change for callers.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from producers.security import UNSECURED, Security
from streams.local.embedded import EmbeddedBroker
from streams.local.info import (
    APACHE_KAFKA,
    COMPACTION,
    DURABLE,
    GENERATION_FENCING,
    GROUP_FAILOVER,
    TOPIC_IDS,
    TRANSACTION_TIMEOUT,
    Broker,
    BrokerBusyError,
    BrokerError,
    BrokerInfo,
    BrokerKind,
    BrokerStartError,
    BrokerUnavailableError,
    KafkaJarsError,
    UncleanStopError,
)
from streams.local.jars import can_run_kafka, choose_cache
from streams.local.kafka import TRANSACTION_TIMEOUT_MS_MAX, KafkaBroker
from streams.local.probe import ask_capabilities, await_answer

__all__ = [
    "APACHE_KAFKA",
    "COMPACTION",
    "DURABLE",
    "EMBEDDED_OR_NAMED",
    "GENERATION_FENCING",
    "GROUP_FAILOVER",
    "TOPIC_IDS",
    "TRANSACTION_TIMEOUT",
    "TRANSACTION_TIMEOUT_MS_MAX",
    "Broker",
    "BrokerBusyError",
    "BrokerError",
    "BrokerInfo",
    "BrokerKind",
    "BrokerStartError",
    "BrokerUnavailableError",
    "EmbeddedBroker",
    "KafkaBroker",
    "KafkaJarsError",
    "NamedBroker",
    "UncleanStopError",
    "choose_broker",
]

NAMED_ANSWER_SECONDS: Final = 15.0
BEST_FIRST: Final = (BrokerKind.ENVIRONMENT, BrokerKind.KAFKA, BrokerKind.EMBEDDED)
EMBEDDED_OR_NAMED: Final = (BrokerKind.ENVIRONMENT, BrokerKind.EMBEDDED)
"""The brokers of `macaw up`, which must start within a second or two."""


def choose_broker(
    data_dir: Path,
    *,
    prefer: str | None = None,
    kinds: Sequence[BrokerKind] = BEST_FIRST,
    environ: Mapping[str, str] = os.environ,
    discard: bool = False,
    security: Security = UNSECURED,
) -> Broker:
    """Start the first of `kinds` that this machine has; the caller stops it.

    `prefer` forces one kind by name. A broker that is named in the environment and does not answer
    is an error and never replaced: its user expects the records to be there. `security` is how it
    is spoken to.

    Raises:
        BrokerUnavailableError: none of the kinds is to be had, or `prefer` is no kind.
        BrokerError: the chosen one does not start.
    """
    wanted = [_named_kind(prefer)] if prefer else list(kinds)
    for kind in wanted:
        if not prefer and not _is_available(kind, environ):
            continue
        broker = _build(kind, data_dir, environ, discard=discard, security=security)
        try:
            broker.start()
        except BrokerUnavailableError as error:
            if kind is wanted[-1]:
                raise
            logging.getLogger(__name__).warning("%s", error)
            continue
        return broker
    raise BrokerUnavailableError(
        f"none of these brokers is to be had: {', '.join(wanted)}; name a running one in MACAW_BOOTSTRAP_SERVERS"
    )


class NamedBroker:
    """A broker that somebody else runs; starting it means asking it, stopping it means nothing."""

    def __init__(self, bootstrap: str, security: Security = UNSECURED) -> None:
        self._bootstrap, self._security = bootstrap, security
        self._info: BrokerInfo | None = None

    @property
    def info(self) -> BrokerInfo:
        """Describe the broker. Requires `start()`."""
        assert self._info is not None, "start the broker first"
        return self._info

    def start(self) -> BrokerInfo:
        """Ask the broker what it is.

        Raises:
            BrokerStartError: it does not answer within fifteen seconds.
        """
        if not await_answer(
            self._bootstrap, seconds=NAMED_ANSWER_SECONDS, is_alive=lambda: True, security=self._security
        ):
            raise BrokerStartError(
                f"no broker answers at {self._bootstrap}: start it, or unset MACAW_BOOTSTRAP_SERVERS"
            )
        self._info = BrokerInfo(
            bootstrap=self._bootstrap,
            kind=BrokerKind.ENVIRONMENT,
            version="unknown",  # Kafka's protocol does not say
            capabilities=ask_capabilities(self._bootstrap, self._security),
        )
        return self._info

    def stop(self) -> None:
        """Leave it running."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _named_kind(name: str) -> BrokerKind:
    try:
        return BrokerKind(name)
    except ValueError as error:
        raise BrokerUnavailableError(
            f"no kind of broker is called {name!r}: want one of {', '.join(BrokerKind)}"
        ) from error


def _is_available(kind: BrokerKind, environ: Mapping[str, str]) -> bool:
    match kind:
        case BrokerKind.ENVIRONMENT:
            return bool(environ.get("MACAW_BOOTSTRAP_SERVERS"))
        case BrokerKind.KAFKA:
            return can_run_kafka(choose_cache(environ))
        case BrokerKind.EMBEDDED:
            return True


def _build(
    kind: BrokerKind, data_dir: Path, environ: Mapping[str, str], *, discard: bool, security: Security
) -> Broker:
    match kind:
        case BrokerKind.ENVIRONMENT:
            bootstrap = environ.get("MACAW_BOOTSTRAP_SERVERS")
            if not bootstrap:
                raise BrokerUnavailableError("MACAW_BOOTSTRAP_SERVERS is not set: set it to host:port")
            return NamedBroker(bootstrap, security)
        case BrokerKind.KAFKA:
            return KafkaBroker(data_dir, cache=choose_cache(environ))
        case BrokerKind.EMBEDDED:
            return EmbeddedBroker(data_dir, discard=discard)
