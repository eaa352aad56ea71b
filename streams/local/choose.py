"""Choosing a broker: first the one named in the environment, then Apache Kafka on a local Java, then the embedded one.

This is the front of `streams.local` for brokers: import them from here.
"""

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from producers.home.security import UNSECURED, Security
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
from streams.local.jars import KAFKA_VERSION, choose_cache, is_complete, why_no_kafka
from streams.local.kafka import TRANSACTION_TIMEOUT_MS_MAX, KafkaBroker
from streams.local.probe import ask_capabilities, await_answer

__all__ = [
    "APACHE_KAFKA",
    "COMPACTION",
    "DURABLE",
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


def choose_broker(
    data_dir: Path,
    *,
    prefer: str | None = None,
    kinds: Sequence[BrokerKind] = BEST_FIRST,
    environ: Mapping[str, str] = os.environ,
    port: int = 0,
    discard: bool = False,
    stays_up: bool = False,
    security: Security = UNSECURED,
    say: Callable[[str], None] = lambda _: None,
) -> Broker:
    """Start a broker of the first of `kinds` that this machine has. The caller stops it.

    `prefer` forces one kind by its name. If a broker named in the environment does not answer, that is an error, and no
    other broker takes its place: its user expects the records to be there. A broker that is started here listens on
    `port`, or on a free port for 0; one that `stays_up` is made for longer than a minute. `say` gets a sentence before
    a long step, and for a kind that is not available.

    Raises:
        BrokerUnavailableError: this machine has none of the kinds, or `prefer` is not the name of a kind.
        BrokerError: the chosen broker does not start.
    """
    started = functools.partial(
        _started, data_dir=data_dir, environ=environ, port=port, discard=discard, stays_up=stays_up, security=security,
        say=say,
    )  # fmt: skip
    *first, last = [_named_kind(prefer)] if prefer else kinds
    for kind in first:
        if kind is BrokerKind.ENVIRONMENT and not environ.get("MACAW_BOOTSTRAP_SERVERS"):
            continue
        try:
            return started(kind)
        except BrokerUnavailableError as error:
            say(f"using the {last} broker, because Apache Kafka is not available here: {error}")
    return started(last)


def _started(
    kind: BrokerKind,
    *,
    data_dir: Path,
    environ: Mapping[str, str],
    port: int,
    discard: bool,
    stays_up: bool,
    security: Security,
    say: Callable[[str], None],
) -> Broker:
    """Start a broker of this kind. Raises BrokerError."""
    broker: Broker
    match kind:
        case BrokerKind.ENVIRONMENT:
            bootstrap = environ.get("MACAW_BOOTSTRAP_SERVERS")
            if not bootstrap:
                raise BrokerUnavailableError("MACAW_BOOTSTRAP_SERVERS is not set: set it to host:port")
            broker = NamedBroker(bootstrap, security)
        case BrokerKind.KAFKA:
            cache = choose_cache(environ)
            if why := why_no_kafka(cache):
                raise KafkaJarsError(why)
            if not is_complete(cache):
                say(f"fetching Apache Kafka {KAFKA_VERSION} with Maven, this one time: 43 MB, to {cache}")
            say(f"starting Apache Kafka {KAFKA_VERSION}, about ten seconds; its data is kept in {data_dir}")
            broker = KafkaBroker(data_dir, port, cache=cache, stays_up=stays_up)
        case BrokerKind.EMBEDDED:
            broker = EmbeddedBroker(data_dir, port, discard=discard)
    broker.start()
    return broker


class NamedBroker:
    """A broker that runs already: `start` asks for its capabilities, `stop` leaves it running."""

    def __init__(self, bootstrap: str, security: Security = UNSECURED) -> None:
        self._bootstrap, self._security = bootstrap, security
        self._info: BrokerInfo | None = None

    @property
    def info(self) -> BrokerInfo:
        """Describe the broker. Requires `start()`."""
        assert self._info is not None, "start the broker first"
        return self._info

    def start(self) -> BrokerInfo:
        """Ask the broker for its capabilities.

        Raises:
            BrokerStartError: it does not answer within NAMED_ANSWER_SECONDS.
        """
        if not await_answer(
            self._bootstrap, seconds=NAMED_ANSWER_SECONDS, is_alive=lambda: True, security=self._security
        ):
            raise BrokerStartError(
                f"no broker answers at {self._bootstrap}: start it, or name another one in MACAW_BOOTSTRAP_SERVERS"
            )
        self._info = BrokerInfo(
            bootstrap=self._bootstrap,
            kind=BrokerKind.ENVIRONMENT,
            version="unknown",  # Kafka's protocol has no request for it
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
            f"{name!r} is not a kind of broker: name one of {', '.join(BrokerKind)}"
        ) from error
