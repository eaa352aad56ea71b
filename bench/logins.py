"""Logins at a bridge, without brokers and without the provider's own time. `python -m bench.logins`.

A login is opened, its session key's signature and the provider's RS256 signature are verified, its claims are mapped,
and the event is drafted and signed as the bridge's publisher does (a burst of 64 under one head, and a lone one). The
answer is sealed and signed too. Times are CPU time of this thread, the best of several passes.
"""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import Future
from hashlib import sha256
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from rich.console import Console
from rich.table import Table

from bench.floor import Floor
from processors.identity.bridging import BridgeIdentity
from processors.identity.tokens.key_sets import KeySet, parse_key_set
from processors.identity.tokens.logout import LOGOUT_EVENT
from processors.proof import sealing, signing
from processors.proof.authoring import RANDOM_BYTES, draft_event, sign_drafts
from processors.proof.signing import Place
from producers.home.clock import clock_ms
from producers.home.keys import KeyPair
from producers.kafka.login_messages import sealed_login, signed_login
from schemas import codec
from schemas.events.attributes import Attributes
from schemas.events.logins import LoginAnswer, LoginAnswered, SealedLogin
from schemas.rows import ProviderRow
from schemas.words import Outcome
from streams.bridge.desk import LoginDesk

LOGINS = 256
PASSES = 5
GOAL = 500
ISSUER = "https://sso.acme.example/realms/staff"
TRUST = ProviderRow(
    kind="keycloak", subjects="user", name_pattern="user:*",
    attributes=Attributes(company="*", business_unit="*", team="*", email="*", roles=("*",)),
    audiences=("macaw",), algorithms=("RS256",), private_hosts=(), trusted_at=0,
)  # fmt: skip


class Case:
    """A bridge with a provider's key set, and sealed logins of as many persons."""

    def __init__(self) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        jwk = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": "k1", "use": "sig", "alg": "RS256"}
        self.keys: KeySet = parse_key_set(json.dumps({"keys": [jwk]}).encode())
        self._key = key
        self.bridge, self.genesis = KeyPair.generate(), os.urandom(32)
        self.logins = [self._login(key, number) for number in range(LOGINS)]

    def _login(self, key: rsa.RSAPrivateKey, number: int) -> tuple[SealedLogin, bytes, bytes]:
        now = int(time.time())
        claims = {
            "iss": ISSUER, "aud": ["macaw", "account"], "azp": "macaw", "sub": f"{number:032x}",
            "jti": f"{number:032x}",
            "exp": now + 3600, "iat": now, "sid": f"s{number}", "typ": "Bearer", "scope": "openid email profile",
            "email": f"person{number}@acme.example", "preferred_username": f"person{number}", "organization": "Acme",
            "business_unit": "Loans", "team": "East", "realm_access": {"roles": ["analyst", "offline_access"]},
        }  # fmt: skip
        token = jwt.encode(claims, key, "RS256", headers={"kid": "k1"})
        pair = KeyPair.generate()
        login = signed_login(token, pair, self.genesis, self.bridge.kid, is_renewal=False)
        value, header = sealed_login(login, pair.kid, self.bridge.kid, self.bridge.sealing.public)
        return codec.decode_as(SealedLogin, value), value, header

    def logout(self, number: int) -> str:
        """Return the provider's word that a person's login has ended."""
        now = int(time.time())
        claims = {
            "iss": ISSUER, "aud": "macaw", "sub": f"{number:032x}", "sid": f"s{number}", "jti": os.urandom(8).hex(),
            "iat": now, "exp": now + 120, "events": {LOGOUT_EVENT: {}},
        }  # fmt: skip
        return jwt.encode(claims, self._key, "RS256", headers={"kid": "k1", "typ": "logout+jwt"})

    # The desk's ports: keys are there, events are kept, and answers are made as the bridge makes them.

    def known(self, _: object) -> KeySet:
        return self.keys

    def row(self, issuer: str) -> ProviderRow | None:
        return TRUST if issuer == ISSUER else None

    def rows(self) -> dict[str, ProviderRow]:
        return {ISSUER: TRUST}

    def close(self) -> None:
        """Nothing is to be closed."""

    def note(self, *_: object) -> None:
        raise AssertionError("a login was refused")

    def run(self, *, burst: int) -> float:
        """Serve every login; return the CPU seconds of one."""
        bodies: list[Any] = []
        given: list[LoginAnswer] = []
        case = self

        class Sent:
            answer: Future[Any]

            def __init__(self, body: Any) -> None:
                self.answer = Future()
                bodies.append(body)

        class Answers:
            def give(self, *told: Any) -> None:
                given.append(told[-1])

        desk = LoginDesk(
            BridgeIdentity(self.genesis, self.bridge.kid, b"s" * 32), halves=lambda: [self.bridge.sealing], trust=self,
            keys=self, publish=Sent, answers=Answers(), refusals=self, clock=clock_ms,  # type: ignore[arg-type]
        )  # fmt: skip
        begun = time.thread_time()
        for at in range(0, LOGINS, burst):
            for sealed, value, header in self.logins[at : at + burst]:
                desk.take(sealed, value, header)
            now_us = time.time_ns() // 1000
            drafts = [
                draft_event(
                    "acme", self.genesis, body, principal_id="bridge:main", session_id=None, seq=now_us,
                    now_ms=now_us // 1000, random=os.urandom(RANDOM_BYTES),
                )
                for body in bodies[at : at + burst]
            ]  # fmt: skip
            sign_drafts(self.bridge.signing, drafts)
            for body in bodies[at : at + burst]:
                case.answer(body)
        assert len(bodies) == LOGINS
        return (time.thread_time() - begun) / LOGINS

    def answer(self, body: Any) -> None:
        """Seal and sign the answer to one login, as `streams/bridge/answering.py` does."""
        payload = os.urandom(sealing.SALT_BYTES) + codec.frame(
            LoginAnswer(outcome=Outcome.ACCEPTED, reason="", detail="", principal_id=body.principal_id, expires_at=0)
        )
        session = signing.kid_of(body.key.ed25519)
        told = LoginAnswered(session=session, login=session, payload_sha256=sha256(payload).digest())
        schema, datum = codec.unframe(codec.frame(told))
        place = Place.of(signing.LOGIN_ANSWER_TAG, self.genesis, "macaw.acme.login-answers", 0, schema.sha256)
        sealing.seal(
            payload, self.bridge.sealing.public, [(session, self.bridge.sealing.shared_with(body.key.x25519))],
            content_key=os.urandom(32), nonces=os.urandom(48),
        )  # fmt: skip
        self.bridge.signing.sign_leaves([place.leaf(datum)])


def main() -> int:
    """Print logins per second of one core; return 1 below the goal."""
    case, table = Case(), Table("logins", "µs of CPU", "a second", "share of the floor")
    floor = Floor().sample(0.5)
    rates = []
    for name, burst in (("lone", 1), ("in bursts of 64", 64)):
        best = min(case.run(burst=burst) for _ in range(PASSES))
        rates.append(1 / best)
        table.add_row(name, f"{best * 1e6:.0f}", f"{1 / best:.0f}", f"{1 / best / floor:.2f}")
    console = Console()
    console.print(table)
    console.print(f"goal: {GOAL} a second of one core", highlight=False)
    return 0 if min(rates) >= GOAL else 1


if __name__ == "__main__":
    raise SystemExit(main())
