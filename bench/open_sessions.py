"""The fold beside many open sessions of one identity provider: `python -m bench.open_sessions [--count N]`.

One bridge opens COUNT sessions of as many persons through the step, as from a broker, each with attributes, the digest
of its token and the proof of its login. Told are the memory that they take in the tables, once as they were opened and
once as a worker restores them from the changelog; the time of one opening; and the time of the expiry of a row, with
few sessions open and with all. A row that expires costs O(log n), and nothing that stays is looked at.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from bench.tenant import DEPLOYMENT, Author, BenchTenant
from processors.intake.identify import Received
from processors.proof import signing
from processors.proof.sealing import SealingKey
from processors.proof.signing import SigningKey, VerifiedHeads
from processors.state.tables import Tables
from processors.step import step
from producers.home.keys import KeyPair
from schemas import codec, limits
from schemas.events.attributes import Attributes
from schemas.events.keys import KeyOffer
from schemas.events.logins import LoginProof
from schemas.events.providers import IdentityProviderTrusted
from schemas.records import AuditEntry, Body, PrincipalRegistered, SessionOpened
from schemas.words import Outcome, ProviderSubjects, Role

COUNT = 100_000
FEW = 1_000
BURST = 256
EXPIRED = 6_400  # rows in one measurement of expiry
ISSUER = "https://login.acme.example"
TENANT = "bench"
TTL_MS = 3_600_000
OUT = Path(__file__).parent / "out" / "open_sessions.json"
GOAL_MB = 200.0


class Opened:
    """A tenant whose one provider vouches for many persons, each with an open session."""

    def __init__(self) -> None:
        self.tenant = BenchTenant(TENANT)
        self.now, self.offset, self.heads = time.time_ns() // 1_000_000, 0, VerifiedHeads()
        self.tables = Tables(tenant=TENANT, deployment=DEPLOYMENT, genesis=self.tenant.genesis)
        for signed in self.tenant.set_up:
            self._fold(Received(0, self.offset, self.now, signed.value, signed.headers))
        trusted = IdentityProviderTrusted(
            issuer=ISSUER, kind="oidc", subjects=str(ProviderSubjects.USER), name_pattern="user:*",
            attributes=Attributes(company="Acme", team="*", email="*", roles=("*",)), audiences=("macaw",),
            algorithms=("RS256",), private_hosts=(),
        )  # fmt: skip
        gate = KeyPair.generate()
        bridge = PrincipalRegistered(
            role=Role.BRIDGE, key=gate.offer(Role.BRIDGE, "gate", self.tenant.genesis), tools=(),
            attributes=Attributes(issuers=(ISSUER,)),
        )  # fmt: skip
        for signed in (self.tenant.said(trusted, admin=True), self.tenant.said(bridge, admin=True)):
            self._fold(Received(0, self.offset, self.now, signed.value, signed.headers))
        self.gate = Author(TENANT, self.tenant.genesis, gate, "gate")

    def open(self, first: int, last: int) -> float:
        """Open sessions of the persons with these numbers; return the CPU seconds of the fold alone."""
        spent = 0.0
        for at in range(first, last, BURST):
            spent += self._say(self.gate, *(self._opening(n) for n in range(at, min(last, at + BURST))))
        return spent

    def _opening(self, number: int) -> SessionOpened:
        seed = sha256(b"%d" % number).digest()
        key, sealing = SigningKey.from_seed(seed), SealingKey.from_secret(seed)
        token, proof = sha256(seed).digest(), LoginProof(nonce=seed[:16], expires_at=self.now + limits.LOGIN_MS)
        message = signing.login_bytes(
            self.tenant.genesis, self.gate.key.kid, token, ed25519=key.public, x25519=sealing.public,
            nonce=proof.nonce, expires_at=proof.expires_at,
        )  # fmt: skip
        email = f"person{number}@acme.example"
        return SessionOpened(
            principal_id=f"user:{email}",
            key=KeyOffer(
                principal_id=f"user:{email}", ed25519=key.public, x25519=sealing.public, possession=key.sign(message)
            ),
            ttl_ms=TTL_MS + number // limits.EXPIRED_PER_EVENT_MAX,  # 64 end in each millisecond
            attributes=Attributes(company="Acme", team=f"team-{number % 50}", email=email, roles=("analyst",)),
            issuer=ISSUER,
            token_sha256=token,
            login_ref=sha256(token).digest(),
            methods=("pwd",),
            login=proof,
        )

    def _say(self, author: Author, *bodies: Body) -> float:
        self.now = max(self.now, time.time_ns() // 1_000_000)
        received = [
            Received(0, self.offset + n, self.now, one.value, one.headers)
            for n, one in enumerate(author.sign(list(bodies), len(bodies)))
        ]
        begun = time.process_time()
        for one in received:
            self._fold(one)
        self.tables.commit()
        return time.process_time() - begun

    def _fold(self, received: Received) -> None:
        entry: AuditEntry = codec.decode_as(AuditEntry, step(self.tables, received, self.heads)[-1].value or b"")
        if entry.outcome != Outcome.ACCEPTED:
            raise SystemExit(f"a record of the bench was not accepted: {entry.kind} {entry.outcome} {entry.reason}")
        self.offset = received.offset + 1

    def expiry_us(self) -> float:
        """Return the CPU time in µs that one session's row takes to leave, as the step lets it; restore them all."""
        tables = self.tables
        ends = sorted(row.expires_at for row in tables.sessions.rows.values() if row.issuer)
        count = min(len(ends), EXPIRED)
        tables.now = ends[count - 1] + limits.SESSION_LINGER_MS
        begun, left = time.process_time(), 0
        while left < count and (due := list(tables.due())):
            for name, key in due:
                tables.by_name[name].delete(key)
                left += 1
        spent = time.process_time() - begun
        tables.rollback()
        return spent / left * 1e6


def resident_mb() -> float:
    """Return the resident memory of this process."""
    gc.collect()
    [line] = [one for one in Path("/proc/self/status").read_text("ascii").splitlines() if one.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def restored_mb(tables: Tables) -> float:
    """Return the memory that the sessions and persons take as they come from the changelog."""
    before = resident_mb()
    again = Tables(tenant=tables.tenant_id, deployment=tables.deployment, genesis=tables.genesis)
    for name, key, row in _as_stored(tables):
        again.by_name[name].restore(key, row)
    return resident_mb() - before


def _as_stored(tables: Tables) -> Iterator[tuple[str, bytes, object]]:
    for table, record in ((tables.sessions, "SessionRow"), (tables.persons, "PersonRow")):
        schema = codec.current(record)
        for key, row in table.rows.items():
            yield table.name, bytes(bytearray(key)), codec.decode(schema, codec.encode(row))


def measure(count: int) -> dict[str, float]:
    """Return the figures by name."""
    opened = Opened()
    opened.open(0, FEW)  # caches of the process fill before anything is measured
    few_us = opened.expiry_us()
    before = resident_mb()
    spent = opened.open(FEW, count)  # all together fill the share of one provider, and no more
    added = resident_mb() - before
    return {
        "open sessions": float(len(opened.tables.sessions) - 1),  # one is the bench's agent
        "MB": added * count / (count - FEW),
        "µs of CPU to open one": spent / (count - FEW) * 1e6,
        f"µs of expiry for a row, {FEW} open": few_us,
        "µs of expiry for a row, all open": opened.expiry_us(),
        "MB after a restart": restored_mb(opened.tables),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.open_sessions", description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT)
    found = measure(parser.parse_args().count)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", "utf-8")
    for name, value in found.items():
        print(f"{name:36} {value:10.1f}")
    goal = GOAL_MB * found["open sessions"] / COUNT
    print(f"goal: {goal:.0f} MB, {'met' if found['MB'] <= goal else 'MISSED'}")


if __name__ == "__main__":
    main()
