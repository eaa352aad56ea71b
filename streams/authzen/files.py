"""Policies from a folder of files: what a tenant would publish, asked before it does."""

from __future__ import annotations

from pathlib import Path

from processors.policy import limits as language_limits
from processors.policy.compiled import CompiledPolicy, compile_policy
from processors.policy.documents import PolicyDocument, parse_policy
from processors.policy.errors import PolicyBrokenError, PolicyError
from processors.policy.index import PolicyIndex, index_policies
from producers.files import FileError, read_start
from schemas.errors import InputError
from streams.authzen import limits
from streams.authzen.directory import Directory, read_directory
from streams.authzen.standing import PoliciesStanding

Signature = tuple[tuple[str, int, int, int], ...]


class PolicyFolderError(InputError):
    """The folder of policies is missing, or a file in it is no policy; the message says which."""


def read_policy_folder(folder: Path) -> PolicyIndex:
    """Return the policies in every `*.json` of a folder, those of the organisation among them.

    Raises:
        PolicyFolderError: there are none or too many, a file is no policy, two have one id, or a chain of `extends`
            is broken.
    """
    policies: dict[str, CompiledPolicy] = {}
    for path in _paths(folder):
        document = _document(path)
        if document.policy_id in policies:
            raise PolicyFolderError(f"{path} is the second document with the id {document.policy_id}")
        policies[document.policy_id] = compile_policy(document)
    index = index_policies(policies)
    for policy in policies.values():
        try:
            index.chain(policy)
        except PolicyBrokenError as exc:
            raise PolicyFolderError(f"{policy.policy_id} in {folder}: its chain breaks at {exc}") from None
    return index


def _paths(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise PolicyFolderError(f"{folder} is no folder of policies")
    paths = sorted(path for path in folder.iterdir() if path.suffix == ".json")
    if not 0 < len(paths) <= limits.POLICIES_MAX:
        raise PolicyFolderError(f"{folder} holds {len(paths)} policies (*.json), want 1 to {limits.POLICIES_MAX}")
    return paths


def _document(path: Path) -> PolicyDocument:
    try:
        # One byte more than a document may have: then it is refused by the language's own limit.
        return parse_policy(read_start(path, language_limits.DOCUMENT_BYTES_MAX + 1), organisation=True)
    except FileError as exc:
        raise PolicyFolderError(str(exc)) from exc
    except PolicyError as exc:
        raise PolicyFolderError(f"{path} is no policy: {exc}") from exc


class WatchedDirectory:
    """The directory file, read again when it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._signature: Signature = ()
        self._directory: Directory | None = None

    def read(self) -> Directory:
        """Return the subjects. Raises DirectoryError."""
        signature = _signature([self._path])
        if self._directory is None or signature != self._signature:
            self._directory, self._signature = read_directory(self._path), signature
        return self._directory


class WatchedFolder:
    """A folder of policies, read again when a file in it has changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._signature: Signature = ()
        self._policies: PoliciesStanding | None = None

    def read(self) -> PoliciesStanding:
        """Return the policies. Raises PolicyFolderError."""
        signature = _signature(_paths(self._folder))
        if self._policies is None or signature != self._signature:
            self._policies = PoliciesStanding(index=read_policy_folder(self._folder))
            self._signature = signature
        return self._policies


def _signature(paths: list[Path]) -> Signature:
    """Return what changes when a file is written or replaced; taken before it is read, so no change is missed."""
    return tuple(
        (path.name, found.st_ino, found.st_mtime_ns, found.st_size)
        for path in paths
        if path.exists() and (found := path.stat())
    )
