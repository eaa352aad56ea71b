"""The circumstances of a call: a decision depends on them beside policies, subjects, resource and parameters."""

from collections.abc import Collection
from typing import NamedTuple

from processors.policy.delegation import Hop
from processors.policy.evaluation import Lookups, Session, Settings
from processors.policy.lifted import NOTHING_LIFTED, Lifted


class Circumstances(NamedTuple):
    """One call, as the log has it.

    `now` is log time in ms, and `appended` when the record was appended, which may be earlier (None: at `now`): rates
    are kept by it. `intents` are the texts of documents that came with the call, policies of its prompts among
    them. `hops` lead from the first subject to the last; `bound` says that the first one signed, for a service.
    `trusted` are the patterns under which a foreign tenant's caller is let in. `resumed` holds the keys that the call
    waited for, when it is decided again after approvals. `granted` says that the call needs no grant, because it
    concerns the caller alone: of policies that list other resources only the denials count then. The last `actors` of
    the subjects made the signer's login in its name: no hop leads to them, and each must pass too. `owner` is the
    program that offers the resource: its `app:` policy applies under any name of the resource. `paid` says that rates
    were charged when the call began to wait for verdicts. `lifted` are documents that do not restrict it. `maskable`
    are the paths at which the declaration of the executing tool lets values be masked; for an answer that nobody
    carries out there are none.
    """

    now: int = 0
    session: Session = Session()
    tables: Lookups = Lookups()
    settings: Settings = Settings()
    intents: tuple[str, ...] = ()
    hops: tuple[Hop, ...] = ()
    bound: bool = False
    trusted: tuple[str, ...] = ()
    resumed: Collection[str] | None = None
    granted: bool = False
    appended: int | None = None
    actors: int = 0
    owner: str = ""
    paid: bool = False
    lifted: Lifted = NOTHING_LIFTED
    maskable: tuple[str, ...] = ()

    @property
    def rate_time(self) -> int:
        """The time (ms) that rates are kept by."""
        return self.now if self.appended is None else self.appended


PLAIN = Circumstances()
