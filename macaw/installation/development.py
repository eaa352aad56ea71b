"""Persons before there is an identity provider: a file names them, and a bridge of this installation says who they are.

    alice:                                  principal user:alice
      company: FinTech Corp                 attributes as policies read them: texts, and lists of texts
      roles: [analyst]

Only tenants founded with `--development` believe it.
"""

from __future__ import annotations

from pathlib import Path

from macaw.installation.tenancy import admin_control
from processors.identity.attributes import attributes_from
from processors.identity.issuers import DEVELOPMENT_ISSUER
from processors.policy.names import PERSON_PREFIX
from producers.client import Control, RefusedError, open_session
from producers.files import FileError, read_file
from producers.home import Home, TenantHome
from producers.keys import KeyPair
from schemas.reasons import Reason
from schemas.records import PrincipalRegistered
from streams.strict_yaml import StrictYAMLError, parse_yaml

BRIDGE = "bridge:development"
PERSONS_BYTES_MAX = 1024 * 1024
Attributes = dict[str, str | list[str]]


class PersonsError(ValueError):
    """The file of persons is missing or wrong, or does not name somebody; the message says where."""


def read_person(path: Path, name: str) -> Attributes:
    """Return the attributes of one person; `user` is their name unless the file says otherwise. Raises PersonsError."""
    try:
        persons = parse_yaml(read_file(path, PERSONS_BYTES_MAX))
    except FileError as exc:
        raise PersonsError(f"{exc}; it says who persons are, a line each, like `{name}: {{roles: [manager]}}`") from exc
    except StrictYAMLError as exc:
        raise PersonsError(f"{path} {exc}") from exc
    if not isinstance(persons, dict) or name not in persons:
        raise PersonsError(f"{path} names no person {name!r}")
    attributes = persons[name] if persons[name] is not None else {}
    if not isinstance(attributes, dict):
        raise PersonsError(f"{path}: want attributes below {name!r}")
    for key, value in attributes.items():
        texts = value if isinstance(value, list) else [value]
        if not all(isinstance(text, str) for text in texts):
            raise PersonsError(f"{path}: {name}.{key} is not a text or a list of texts: put it into quotes")
    return {"user": name, **attributes}


def open_person_session(home: Home, folder: TenantHome, name: str, attributes: Attributes, *, ttl_ms: int) -> Path:
    """Open a session for a person and keep its key here, in place of an earlier one; return the key file.

    Raises:
        AttributeInvalidError: there is no attribute of a name.
        RefusedError: the tenant does not believe this bridge, or an attribute is wrong.
        NoAnswerError, PublishError: nobody answered, or the broker did not take it.
    """
    path = folder.key_file("session", name)
    session, new = KeyPair.generate(), path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    session.save(new)  # before it is opened: an earlier session's key is not given up for one that cannot be kept
    with Control(home, folder, _bridge(home, folder), BRIDGE) as control:
        open_session(
            control,
            session,
            principal_id=f"{PERSON_PREFIX}{name}",
            ttl_ms=ttl_ms,
            attributes=attributes_from(attributes),
            issuer=DEVELOPMENT_ISSUER,
        )
    return new.replace(path)


def _bridge(home: Home, folder: TenantHome) -> KeyPair:
    """Return the key of this installation's bridge, registered by the admin when it is first needed."""
    path = folder.key_file("bridge", "development")
    if not path.exists():
        KeyPair.generate().save(path)  # before it is registered: what is registered and lost can never speak
    key = KeyPair.load(path)
    body = PrincipalRegistered(
        role="bridge",
        key=key.offer("bridge", BRIDGE, folder.genesis),
        attributes=attributes_from({"issuers": [DEVELOPMENT_ISSUER]}),
        tools=(),
    )
    with admin_control(home, folder) as control:
        try:
            control.tell(body)
        except RefusedError as exc:
            if exc.reason != Reason.KEY_TAKEN:  # registered already
                raise
    return key
