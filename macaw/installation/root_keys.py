"""The root keys of a tenant that are kept here. With them acts are proposed, signed and submitted.

    root.key or root.1.key, …      a present root key of the founding
    root.<kid>.key                 one that came later
    next-root.key, …               a next one: the log has its digest alone, and it is needed only for a recovery

Root keys belong on other machines than the rest; a tenant works without them. A new key is here before the log hears of
it, and one that the log no longer has is discarded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from macaw.installation.key_names import NEXT, ROOT
from macaw.installation.root_acts import RootActError, RootActFile
from processors.identity.roots import recovery_epoch
from processors.proof.signing import kid_of
from processors.state.tables import SINGLETON
from producers.home.home import Home, HomeError, TenantHome
from producers.home.keys import KeyPair
from producers.kafka.answers import Answer
from producers.kafka.connection import Connection
from producers.kafka.registry_view import RegistryView
from schemas.events.keys import AdminAddition, AdminRemoval, RootRotation
from schemas.rows import TenantRow


class RootKey(NamedTuple):
    """A root key that is kept here."""

    path: Path
    pair: KeyPair


class Roots(NamedTuple):
    """The root keys of a tenant as the log has them, and those that are kept here."""

    row: TenantRow
    here: dict[bytes, RootKey]

    @property
    def kids(self) -> list[bytes]:
        """The kids of the present root keys."""
        return [kid_of(key) for key in self.row.root_keys]

    def after(self, acts: int) -> Roots:
        """Return the same once so many acts on administrators have been folded that stand on intake now."""
        return self._replace(row=replace(self.row, root_epoch=self.row.root_epoch + acts))


def root_files(folder: TenantHome, kind: str) -> list[Path]:
    """Return the files of root keys here, of the kind `root` or `next-root`."""
    return sorted(path for path in folder.path.glob(f"{kind}*.key") if path.name.split(".")[0] == kind)


def read_roots(home: Home, folder: TenantHome) -> Roots:
    """Return the tenant's root keys. Raises HomeError if the log is not founded yet, RegistryError, KeyAccessError."""
    with closing(RegistryView.of(home, folder)) as view:
        view.refresh()
        row = view.tables.tenant.get(SINGLETON)
    if row is None:
        raise HomeError(f"tenant {folder.tenant!r} is not founded yet: no monitor has answered")
    here = (RootKey(path, folder.keys.load(path)) for kind in (ROOT, NEXT) for path in root_files(folder, kind))
    return Roots(row, {one.pair.kid: one for one in here})


def propose(folder: TenantHome, roots: Roots, act: AdminAddition | AdminRemoval) -> RootActFile:
    """Return an act on administrators, signed by the present root keys that are here.

    `roots` are those as of the act: `Roots.after` counts acts that stand on intake and are not folded yet.
    """
    made = RootActFile.of(act, tenant=folder.tenant, genesis=folder.genesis, epoch=roots.row.root_epoch)
    return made.signed(roots.here[kid].pair.signing for kid in roots.kids if kid in roots.here)


def propose_rotation(
    folder: TenantHome,
    roots: Roots,
    *,
    dropped: Sequence[bytes],
    added: Sequence[bytes] = (),
    threshold: int | None = None,
    reason: str,
) -> RootActFile:
    """Return a rotation that puts other root keys in the place of the dropped ones, signed by the keys here.

    `added` are public keys of other machines; without any, as many fresh ones are made here as are dropped. The
    commitment to the next keys stays; where there was none, fresh next keys are made and committed to.

    Raises:
        HomeError: a dropped kid is not a present root key, or no key would be left.
    """
    row = roots.row
    if unknown := sorted(kid.hex()[:16] for kid in dropped if kid not in roots.kids):
        raise HomeError(f"{', '.join(unknown)} is not a present root key; `macaw root list` shows them")
    kept = [key for key in row.root_keys if kid_of(key) not in dropped]
    fresh = [] if added else [_made(folder, ROOT) for _ in dropped]
    new = [*kept, *added, *(one.pair.signing.public for one in fresh)]
    next_digests = row.next_root_digests or tuple(_made(folder, NEXT).pair.kid for _ in new)
    act = RootRotation(
        root_keys=tuple(new),
        root_threshold=row.root_threshold if threshold is None else threshold,
        next_root_digests=next_digests,
        reason=reason,
    )
    made = RootActFile.of(act, tenant=folder.tenant, genesis=folder.genesis, epoch=row.root_epoch)
    signing = [one.pair.signing for kid, one in roots.here.items() if kid in roots.kids]
    return made.signed([*signing, *(one.pair.signing for one in fresh)])


def propose_recovery(
    folder: TenantHome, roots: Roots, *, others: Sequence[bytes] = (), threshold: int | None = None, reason: str
) -> RootActFile:
    """Return a rotation to the next root keys, those here and the public keys `others`, signed by those here.

    It commits to as many fresh next keys, which are made here.

    Raises:
        HomeError: none of the next keys is here or among `others`, or one of `others` is not a next key.
    """
    committed = roots.row.next_root_digests
    if not committed:
        raise HomeError("this tenant committed to no next root keys at its founding: only present root keys can rotate")
    if unknown := sorted(kid_of(key).hex()[:16] for key in others if kid_of(key) not in committed):
        raise HomeError(f"{', '.join(unknown)} is not a next root key; the log is committed to {_names(committed)}")
    here = [one.pair for kid, one in roots.here.items() if kid in committed]
    new = tuple(dict.fromkeys((*(pair.signing.public for pair in here), *others)))
    wanted = roots.row.root_threshold if threshold is None else threshold
    if len(new) < max(roots.row.root_threshold, wanted):
        raise HomeError(
            f"a recovery needs {max(roots.row.root_threshold, wanted)} next root keys, and {len(new)} are here or "
            f"named: the log is committed to {_names(committed)}"
        )
    act = RootRotation(
        root_keys=new,
        root_threshold=wanted,
        next_root_digests=tuple(_made(folder, NEXT).pair.kid for _ in new),
        reason=reason,
    )
    made = RootActFile.of(act, tenant=folder.tenant, genesis=folder.genesis, epoch=recovery_epoch(committed))
    return made.signed(pair.signing for pair in here)


def missing_signatures(roots: Roots, act: RootActFile) -> str:
    """Return the lack of an act in words; empty if it can be submitted."""
    content = act.content
    is_recovery = act.epoch == recovery_epoch(roots.row.next_root_digests)
    if act.epoch != roots.row.root_epoch and not is_recovery:
        return f"it was made for epoch {act.epoch} of the root keys, and another act has counted since: make it anew"
    new = {kid_of(key) for key in content.root_keys} if isinstance(content, RootRotation) else set()
    good = act.only_good(_public_keys(roots, act)).signers
    if unsigned := new - good:
        return f"each new root key must sign it: {_names(unsigned)} has not"
    threshold, committed = roots.row.root_threshold, set(roots.row.next_root_digests)
    if is_recovery:
        got = len(good & committed)
        return "" if got >= threshold else f"it has {got} good signatures of next root keys, and needs {threshold}"
    if len(good & set(roots.kids)) >= threshold:
        return ""
    return f"it has {len(good & set(roots.kids))} good signatures of present root keys, and needs {threshold}"


def submit(home: Home, folder: TenantHome, roots: Roots, act: RootActFile) -> Answer:
    """Put an act onto the log with a root key that is here, and tidy the key files after a rotation.

    Raises:
        RootActError: it is not for this tenant, or lacks signatures.
        HomeError: no key here may submit it.
        RefusedError: the log refused it.
    """
    if (act.tenant, act.genesis) != (folder.tenant, folder.genesis):
        raise RootActError(f"the act is for the tenant {act.tenant!r} with another genesis than {folder.tenant!r} here")
    if lacks := missing_signatures(roots, act):
        raise RootActError(f"the act cannot be submitted yet: {lacks}; run `macaw root sign FILE` where such a key is")
    may = set(roots.kids)
    if isinstance(act.content, RootRotation):
        may |= {kid_of(key) for key in act.content.root_keys} & set(roots.row.next_root_digests)
    signer = next((one for kid, one in roots.here.items() if kid in may), None)
    if signer is None:
        raise HomeError(f"one root key must be here to submit the act: {_names(may)}")
    body = act.only_good(_public_keys(roots, act)).body
    with Connection(home, folder, signer.pair, ROOT) as connection:
        answer = connection.ask(body)
    if isinstance(act.content, RootRotation):
        _tidy(folder, roots, act.content)
    return answer


def _tidy(folder: TenantHome, roots: Roots, act: RootRotation) -> None:
    """Give new root keys their name here, and discard those that the log no longer has."""
    new = {kid_of(key) for key in act.root_keys}
    for kid, one in roots.here.items():
        if kid in new and one.path.name.startswith(NEXT):
            one.path.rename(folder.path / f"{ROOT}.{kid.hex()[:16]}.key")
        elif kid not in new and kid not in act.next_root_digests:
            folder.keys.discard(one.path)


def _public_keys(roots: Roots, act: RootActFile) -> list[bytes]:
    content = act.content
    return [*roots.row.root_keys, *(content.root_keys if isinstance(content, RootRotation) else ())]


def _made(folder: TenantHome, kind: str) -> RootKey:
    """Make a root key here."""
    making = folder.path / f"{kind}.key.new"
    folder.keys.discard(making)  # of a run that was interrupted
    pair = folder.keys.create(making, ROOT, label=f"{folder.tenant}/{kind}")
    return RootKey(making.rename(folder.path / f"{kind}.{pair.kid.hex()[:16]}.key"), pair)


def _names(kids: Iterable[bytes]) -> str:
    return ", ".join(sorted(kid.hex()[:16] for kid in kids))
