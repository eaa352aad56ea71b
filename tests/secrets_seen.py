"""No test shows a secret: each one that the suite makes is noted, and every test's output is searched for all of them.

Secrets are the halves of keys, and tokens, passwords and client secrets of the real providers. Output is what a test
captured (streams and log records), what commands printed in this process, and what its child processes wrote.
"""

from __future__ import annotations

import base64
import functools
import re
import subprocess
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from producers.home.keys import KeyPair
from tests.identity_providers.provider import IdentityProvider

RUNS = re.compile(r"[A-Za-z0-9_\-]{16,}")

_secrets: set[str] = set()
_shown: list[str] = []


def note(*secrets: str | bytes) -> None:
    """Take note of secrets: bytes in hex and in base64url, texts as they are, of a token its claims and signature."""
    for secret in secrets:
        if isinstance(secret, bytes):
            _secrets.update((secret.hex(), base64.urlsafe_b64encode(secret).decode().rstrip("=")))
        else:
            parts = secret.split(".")
            _secrets.update(part for part in (parts[1:] if len(parts) == 3 else parts) if len(part) >= 16)


def show(text: str | bytes | None) -> None:
    """Take note of output that is not captured by pytest."""
    if text:
        _shown.append(text if isinstance(text, str) else text.decode("utf-8", "replace"))


def found_in(texts: Iterable[str]) -> list[str]:
    """Return the first characters of each secret that stands in one of the texts."""
    return sorted({run[:6] for text in texts for run in RUNS.findall(text) if run in _secrets})


def watch() -> None:
    """Note the secrets that are made in this process from now on, and the output of child processes."""
    generate, grant, run = KeyPair.generate, IdentityProvider.grant, subprocess.run

    @functools.wraps(generate)
    def generated() -> KeyPair:
        pair = generate()
        note(pair.signing.seed, pair.sealing.secret)  # type: ignore[attr-defined] # of this process: not on a token
        return pair

    @functools.wraps(grant)
    def granted(self: IdentityProvider, *args: Any, **named: Any) -> dict[str, str]:
        answer = grant(self, *args, **named)
        note(*(answer[name] for name in ("access_token", "refresh_token", "id_token") if name in answer))
        note(self.client_secret, self.workload_secret, *(person.password for person in self.people.values()))
        return answer

    @functools.wraps(run)
    def ran(*args: Any, **named: Any) -> Any:
        done = run(*args, **named)
        show(done.stdout)
        show(done.stderr)
        return done

    KeyPair.generate = staticmethod(generated)  # type: ignore[assignment,method-assign]
    IdentityProvider.grant = granted  # type: ignore[method-assign]
    subprocess.run = ran


class SecretsWatch:
    """The plugin: fails a test in the output of which a secret stands."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
        report = yield
        if call.when == "teardown":
            told = found_in([*(text for _, text in report.sections), *_shown])
            _shown.clear()
            if told:
                report.outcome = "failed"
                report.longrepr = f"{item.nodeid} shows secrets in its output: {', '.join(f'{one}…' for one in told)}"
        elif call.when == "setup" and len(_shown) > 1000:
            _shown.clear()
        return report
