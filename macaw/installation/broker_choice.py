"""The broker that `macaw up` starts: the one that the installation was made with, else the best of this machine.

`broker_kind` in `.macaw/config.json` records the choice; a `bootstrap` without it, written by hand, names brokers of
others. The choice is binding while the installation has tenants: their logs are on that broker, and on another one they
would seem to have vanished. For the same reason a broker of this machine is not started without their logs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from producers.home.clock import clock_ms
from producers.home.home import Home, HomeError
from producers.home.security import UNSECURED
from schemas.errors import InstallationError
from streams.local.choose import Broker, BrokerKind, BrokerUnavailableError, EmbeddedBroker, choose_broker
from streams.local.probe import is_free

LOCAL = (BrokerKind.KAFKA, BrokerKind.EMBEDDED)  # best first; the embedded one can always start
NAMES = {
    BrokerKind.ENVIRONMENT: "a broker that MACAW_BOOTSTRAP_SERVERS named",
    BrokerKind.KAFKA: "Apache Kafka, started by `macaw up`",
    BrokerKind.EMBEDDED: "the embedded broker",
}


class OtherBrokerError(InstallationError):
    """The installation's log is on another broker than the one asked for, or on one that cannot start here."""


def start_broker(base: Path, named: BrokerKind | None, *, discard: bool, say: Callable[[str], None]) -> Broker:
    """Start the broker of the installation in `base`, which may not exist yet; the caller stops it.

    `named` is the kind that the user asked for. `discard` deletes the data of an embedded broker that was not stopped
    cleanly, and sets its tenants aside. `say` gets a sentence for each thing that the user should know.

    Raises:
        OtherBrokerError: the log of the installation is on another broker, or on one that cannot be started here.
        HomeError, SecurityError: config.json is wrong.
        BrokerError: the broker does not start.
    """
    home = Home.open(base) if (base / ".macaw" / "config.json").exists() else None
    made_with = _made_with(home)
    kinds = _kinds(home, made_with, named)
    security = home.security if home else UNSECURED
    if security and kinds != [BrokerKind.ENVIRONMENT]:
        raise OtherBrokerError(
            "config.json has credentials under `kafka`, but a broker that `macaw up` starts does not ask for them: "
            "remove `kafka`, or name the brokers in MACAW_BOOTSTRAP_SERVERS"
        )
    folder = base / ".macaw" / "broker"
    if discard and kinds == [BrokerKind.EMBEDDED] and EmbeddedBroker(folder).marker.exists():
        _set_tenants_aside(base / ".macaw", say)
    if home and made_with and kinds == [made_with]:
        _check_logs(home, folder / made_with, made_with)
    environ, port = dict(os.environ), 0
    if home and kinds == [made_with]:
        environ.setdefault("MACAW_BOOTSTRAP_SERVERS", home.config.get("bootstrap", ""))
        port = _port(home)
    try:
        return choose_broker(
            folder, kinds=kinds, environ=environ, port=port, discard=discard, stays_up=True, security=security, say=say
        )
    except BrokerUnavailableError as exc:
        if made_with not in kinds:
            raise
        raise OtherBrokerError(
            f"the log of this installation is on {NAMES[made_with]}, which is not available: {exc}"
        ) from exc


def _made_with(home: Home | None) -> BrokerKind | None:
    """Return the kind of broker that the installation was made with. Raises HomeError for an unknown kind."""
    kind = home.config.get("broker_kind") if home else None
    if home is None:
        return None
    if kind is None:
        return BrokerKind.ENVIRONMENT if home.config.get("bootstrap") else None
    if kind not in set(BrokerKind):
        raise HomeError(
            f"`broker_kind` is {kind[:20]!r} in {home.path / 'config.json'}: use one of {', '.join(BrokerKind)}"
        )
    return BrokerKind(kind)


def _kinds(home: Home | None, made_with: BrokerKind | None, named: BrokerKind | None) -> list[BrokerKind]:
    """Return the kinds to try, best first. Raises OtherBrokerError."""
    in_environment = BrokerKind.ENVIRONMENT if os.environ.get("MACAW_BOOTSTRAP_SERVERS") else None
    wanted = named or in_environment or made_with
    if wanted is None:
        return list(LOCAL)
    if home and made_with and wanted is not made_with and (tenants := home.tenants()):
        source = "--broker" if named else "MACAW_BOOTSTRAP_SERVERS"
        raise OtherBrokerError(
            f"the logs of {', '.join(tenants)} are on {NAMES[made_with]}, and {source} names another one: leave it "
            "out, or set MACAW_HOME to another folder"
        )
    return [wanted]


def _check_logs(home: Home, store: Path, kind: BrokerKind) -> None:
    """Raise OtherBrokerError if a local broker would start empty although there are tenants."""
    if kind in LOCAL and not store.is_dir() and (tenants := home.tenants()):
        raise OtherBrokerError(
            f"the logs of {', '.join(tenants)} are not in {store}, and a broker that starts there would be empty: run "
            f"`macaw up` where they are, or bring that folder back; to begin anew, move {home.path / 'tenants'} away"
        )


def _port(home: Home) -> int:
    """Return the broker's earlier port if it is free, so that running hosts and agents find it again; else 0."""
    digits = home.config.get("bootstrap", "").rpartition(":")[2]
    return int(digits) if digits.isdecimal() and 0 < int(digits) < 2**16 and is_free(int(digits)) else 0


def _set_tenants_aside(path: Path, say: Callable[[str], None]) -> None:
    """Move the keys of tenants to a folder where no command looks, because their logs are about to be deleted."""
    tenants = path / "tenants"
    if tenants.is_dir():
        aside = tenants.rename(path / f"tenants.discarded-{clock_ms()}")
        say(f"the logs of these tenants are discarded; their keys are kept in {aside}")
