"""A program that is registered on its first use, with an enrolment key of this installation.

The key is `enrolments/NAME.key`, which was made for this program, else `enrolments/programs.key`, which was made for
programs of any name, else `enrol.key` of the tenant, which gives no attributes. The program gets all that the grant of
the key allows: its roles, and the names that it may offer. An administrator's key is never used: a program that starts
must not act as the administrator because the key happens to lie here.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from producers.home.home import Home, TenantHome
from producers.kafka.connection import Connection
from producers.kafka.link import TenantLink
from producers.kafka.registering import register_key, registrar
from schemas.events.attributes import NONE, Attributes
from schemas.words import Role

PROGRAMS = "programs"  # the enrolment key for programs of any name


def enrol_program(home: Home, folder: TenantHome, name: str) -> None:
    """See that the service `name` is registered with its key in this installation. Safe in many processes at once.

    Raises:
        HomeError: no key here may register it, or the installation or tenant is not here.
        RefusedError: the log refused the registration.
        KeyAccessError, ConnectError, RegistryError, NoAnswerError, PublishError: as `Connection.ask`.
    """
    _ = folder.genesis  # an unknown tenant is named first
    link = TenantLink.of(home, folder)
    try:
        path = folder.key_file("agent", name)
        with _alone(path.with_suffix(".lock")):
            # A process may have ended between writing its key and registering it.
            if not path.exists() or link.registry.key(folder.keys.load(path).kid) is None:
                _register(home, folder, name, path)
    finally:
        link.release()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Be the only one of this program that makes or reads its key in the block: a key file is there before it is whole.

    The kernel releases the lock when its holder ends. In a folder that cannot be written no key is made either.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _register(home: Home, folder: TenantHome, name: str, path: Path) -> None:
    shared = not folder.key_file("enrolment", name).exists() and folder.key_file("enrolment", PROGRAMS).exists()
    by = registrar(folder, Role.SERVICE, name, enrolment=PROGRAMS if shared else None, as_admin=False)
    with Connection.registered(home, folder, by.key, by.principal_id) as connection:
        register_key(connection, path, Role.SERVICE, name, _granted(connection))


def _granted(connection: Connection) -> Attributes:
    """Return all that the grant of a connection's enrolment key allows; `attests` is of tools alone."""
    connection.registry.await_key(connection.key.kid)  # it may have been registered a moment ago
    row = connection.registry.key(connection.key.kid)
    return NONE if row is None or row.enrolment is None else replace(row.enrolment.attributes, attests=())
