"""What stands around a desk in its tests: a bridge, trust in a provider, keys that are there or not, a log."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from processors.identity.bridging import BridgeIdentity
from processors.identity.tokens.key_sets import KeySet
from producers.kafka.answers import Answer
from schemas.events.attributes import Attributes
from schemas.records import Result
from schemas.rows import ProviderRow
from streams.bridge.key_cache import KeyTerms
from tests.builders import keys_of
from tests.identity_tokens.minting import AUDIENCE, NOW_MS, all_keys

TRUST = ProviderRow(
    kind="oidc", subjects="user", name_pattern="user:*", attributes=Attributes(company="*"), audiences=(AUDIENCE,),
    algorithms=("ES256",), private_hosts=(), trusted_at=0,
)  # fmt: skip
BRIDGE = keys_of("the bridge")
IDENTITY = BridgeIdentity(genesis=b"g" * 32, kid=BRIDGE.kid, ref_secret=b"s" * 32)


class Sent:
    """An event on its way to the log: a test answers it, or not."""

    def __init__(self, body: Any) -> None:
        self.body, self.answer, self.is_given_up = body, Future[Answer](), False

    def give_up(self) -> bool:
        self.is_given_up = True
        return self.answer.cancel()

    def end(self, outcome: str = "accepted", reason: str = "") -> None:
        self.answer.set_result(
            Answer(
                Result(
                    origin="t", audit_index=1, to=BRIDGE.kid, event=b"e" * 32, event_id=b"i" * 16, outcome=outcome,
                    reason=reason, detail="", at=NOW_MS,
                )
            )
        )  # fmt: skip


@dataclass
class Keys:
    """Keys as a test has them: known ones, and requests that wait."""

    have: KeySet | None = field(default_factory=all_keys)
    asked: list[tuple[KeyTerms, str | None, Future[KeySet]]] = field(default_factory=list)

    def known(self, _: KeyTerms) -> KeySet | None:
        return self.have

    def request(self, terms: KeyTerms, *, unknown_kid: str | None = None) -> Future[KeySet]:
        self.asked.append((terms, unknown_kid, Future()))
        return self.asked[-1][2]
