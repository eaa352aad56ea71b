"""Persons before there is an identity provider: a file names them, and a bridge of this installation vouches for them.

    alice:                                  the principal user:alice
      company: FinTech Corp                 attributes as policies read them: texts, and lists of texts
      roles: [analyst]

Only tenants founded with `--development` believe this bridge. `streams/identity_files/subjects_file.py` reads the file.
"""

from __future__ import annotations

from pathlib import Path

from macaw.installation.tenancy import admin_connection
from processors.identity.attributes import attributes_from
from processors.identity.issuers import DEVELOPMENT_ISSUER
from processors.policy.names import PERSON_PREFIX
from producers.client import RefusedError
from producers.home.home import Home, TenantHome
from producers.home.keys import KeyPair
from producers.kafka.connection import Connection
from schemas.reasons import Reason
from schemas.records import PrincipalRegistered
from schemas.words import Role
from streams.identity_files.subjects_file import Attributes, SubjectsFileError, read_subjects

BRIDGE = "bridge:development"


def read_person(path: Path, name: str) -> Attributes:
    """Return the attributes of one person; `user` is the name unless the file has another.

    Raises:
        SubjectsFileError: the file is missing or wrong, or has no such person.
    """
    entry = read_subjects(path).get(name)
    if entry is None or not entry.is_person:
        raise SubjectsFileError(f"{path} has no person {name!r}: add a line like `{name}: {{roles: [manager]}}`")
    return {"user": name, **entry.attributes}


def open_person_session(home: Home, folder: TenantHome, name: str, attributes: Attributes, *, ttl_ms: int) -> Path:
    """Open a session for a person and keep its key here, in place of an earlier one; return the key file.

    Raises:
        AttributeInvalidError: there is no attribute of a name.
        RefusedError: the tenant does not believe this bridge, or an attribute is wrong.
        NoAnswerError, PublishError: no monitor answered, or the broker did not take the event.
    """
    path = folder.key_file("session", name)
    new = path.with_name(f"{path.name}.new")
    folder.keys.discard(new)
    session = folder.keys.create(
        new, "session"
    )  # kept before it is opened: the key of an earlier session is kept until this one is safe
    with bridge_connection(home, folder) as connection:
        connection.open_session(
            session,
            principal_id=f"{PERSON_PREFIX}{name}",
            ttl_ms=ttl_ms,
            attributes=attributes_from(attributes),
            issuer=DEVELOPMENT_ISSUER,
        )
    return folder.keys.replace(new, path)


def bridge_connection(home: Home, folder: TenantHome) -> Connection:
    """Connect as this installation's bridge, which opens any number of sessions. Raises as `open_person_session`."""
    return Connection(home, folder, _bridge(home, folder), BRIDGE)


def _bridge(home: Home, folder: TenantHome) -> KeyPair:
    """Return the key of this installation's bridge, registered by the admin when it is first needed."""
    path = folder.key_file("bridge", "development")
    # It is kept first: a key that is registered and then lost can never speak.
    key = folder.keys.load(path) if path.exists() else folder.keys.create(path, "bridge")
    body = PrincipalRegistered(
        role=Role.BRIDGE,
        key=key.offer(Role.BRIDGE, BRIDGE, folder.genesis),
        attributes=attributes_from({"issuers": [DEVELOPMENT_ISSUER]}),
        tools=(),
    )
    with admin_connection(home, folder) as connection:
        try:
            connection.ask(body)
        except RefusedError as exc:
            if exc.reason != Reason.KEY_TAKEN:  # KEY_TAKEN: it is registered already
                raise
    return key
