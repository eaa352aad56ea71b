"""A tenant as the workers of this installation need it: its genesis, its decision keys, and its state secret."""

from __future__ import annotations

import contextlib
import logging

from macaw.installation.archives import archive_of
from producers.home.home import Home, TenantHome
from producers.home.keys import KeyPair
from producers.home.keystores.errors import KeyAccessError
from streams.worker.monitor import MonitoredTenant
from streams.worker.signing.decision_keys import DecisionKeys

log = logging.getLogger(__name__)


def monitored(home: Home, name: str) -> MonitoredTenant | None:
    """Return a tenant of this installation as a monitor needs it, or None if its folder has no decision key.

    Raises:
        HomeError, KeyAccessError: a file of the folder is missing or wrong.
    """
    folder = TenantHome(name, home.path / "tenants" / name)
    if not folder.monitor_key_files():
        return None
    return MonitoredTenant(
        tenant=name,
        deployment=home.deployment,
        genesis=folder.genesis,
        keys=DecisionKeys(lambda: _decision_keys(folder)),
        state_secret=_state_secret(folder),
        archive=archive_of(home, folder),
        set_aside=folder.set_aside,
    )


def _decision_keys(folder: TenantHome) -> list[KeyPair]:
    found = []
    for path in folder.monitor_key_files():
        try:
            found.append(folder.keys.load(path))
        except KeyAccessError:
            if path.exists():
                raise
            # A rotation has just put it in the place of `monitor.key`, which was read before.
            return _decision_keys(folder)
    return found


def _state_secret(folder: TenantHome) -> bytes:
    """Return the secret under the state of a tenant's workers; make it where there is none."""
    if not folder.state_secret_file.exists():
        log.warning(
            "%s does not exist and is made anew: no earlier state fits it, so intake is folded again from its start; "
            "workers on other machines need a copy of it",
            folder.state_secret_file,
        )
        with contextlib.suppress(FileExistsError):  # another worker of this installation has just made it
            folder.make_state_secret()
    return folder.state_secret
