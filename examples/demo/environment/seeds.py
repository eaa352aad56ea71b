"""Fresh environments: the stores of one suite, filled with the data of this package.

Every call of the corpus, wanted or injected, succeeds in a fresh environment. So every refusal in the demo comes
from a policy, never from a store that lacks a file or a mail.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from examples.demo.environment.agenda import Agenda
from examples.demo.environment.bank import Bank
from examples.demo.environment.bank_seed import BOOKINGS, DOCUMENTS, HOLDER, STANDING_ORDERS
from examples.demo.environment.files import FileStore
from examples.demo.environment.journal import Effect, Store, counts
from examples.demo.environment.mailbox import Mailbox
from examples.demo.environment.workspace_seed import (
    CONTACTS,
    EVENTS,
    LAST_FILE_ID,
    MAILS,
    NOW,
    OWNER,
    STORED_FILES,
    TODAY,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The stores of one task, by the name of the app that offers their tools."""

    directory: Path
    suite: str
    stores: Mapping[str, Store]

    def tools(self) -> dict[str, object]:
        """Return the object of each app; its marked methods are the tools `tool:<app>/<name>`."""
        return dict(self.stores)

    def effects(self) -> list[tuple[str, Effect]]:
        """Return every side effect with its app, in order within an app, from the journals."""
        return [(app, effect) for app, store in self.stores.items() for effect in store.effects()]

    def recount(self) -> dict[str, int]:
        """Return the number of side effects of each kind, counted from the stores' own rows, files and mails."""
        return {kind: many for store in self.stores.values() for kind, many in store.recount().items()}

    def discrepancies(self) -> dict[str, tuple[int, int]]:
        """Return for each kind of effect with a difference the counts of journal and store; empty if all agree."""
        said, shown = counts(effect for _, effect in self.effects()), self.recount()
        pairs = {kind: (said.get(kind, 0), shown.get(kind, 0)) for kind in sorted({*said, *shown})}
        return {kind: pair for kind, pair in pairs.items() if pair[0] != pair[1]}


def build_environment(directory: Path, suite: str) -> Environment:
    """Create and seed the environment of a suite in an empty directory, which is made if it is missing.

    Raises:
        ValueError: There is no such suite, or the directory holds something.

    """
    seed, _ = _suite(suite)
    if directory.exists() and any(directory.iterdir()):
        raise ValueError(f"the directory {directory.name!r} is not empty: name an empty one for a fresh environment")
    seed(directory)
    return open_environment(directory, suite)


def open_environment(directory: Path, suite: str) -> Environment:
    """Open the environment that `build_environment` made there, in this process or in another.

    Raises:
        ValueError: There is no such suite, or nothing was built there.

    """
    _, open_stores = _suite(suite)
    if not directory.is_dir() or not any(directory.iterdir()):
        raise ValueError(f"the directory {directory.name!r} has no environment: build one there first")
    return Environment(directory=directory, suite=suite, stores=MappingProxyType(open_stores(directory)))


def _open_banking(directory: Path) -> dict[str, Store]:
    return {"bank": Bank(directory)}


def _seed_banking(directory: Path) -> None:
    bank = Bank(directory)
    for name, text in DOCUMENTS.items():
        (directory / "files" / name).write_text(text, encoding="utf-8", newline="\n")
    bank.seed(HOLDER, BOOKINGS, STANDING_ORDERS)


def _open_workspace(directory: Path) -> dict[str, Store]:
    return {"mail": Mailbox(directory), "calendar": Agenda(directory), "files": FileStore(directory)}


def _seed_workspace(directory: Path) -> None:
    Mailbox(directory).seed(MAILS, CONTACTS, owner=OWNER, now=NOW)
    Agenda(directory).seed(EVENTS, owner=OWNER, today=TODAY)
    FileStore(directory).seed(STORED_FILES, owner=OWNER, last_id=LAST_FILE_ID)


_Seed = Callable[[Path], None]
_Open = Callable[[Path], dict[str, Store]]

_SUITES: Mapping[str, tuple[_Seed, _Open]] = MappingProxyType(
    {"banking": (_seed_banking, _open_banking), "workspace": (_seed_workspace, _open_workspace)}
)
SUITES = tuple(_SUITES)


def _suite(name: str) -> tuple[_Seed, _Open]:
    try:
        return _SUITES[name]
    except KeyError as exc:
        raise ValueError(f"{name[:60]!r} is not a suite; the suites are {', '.join(SUITES)}") from exc
