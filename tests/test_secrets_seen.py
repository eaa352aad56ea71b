"""The search for secrets in the output of tests finds them, in each way in which they could stand there."""

from __future__ import annotations

import base64
import subprocess
import sys

import pytest

from producers.home.keys import KeyPair
from tests import secrets_seen


@pytest.mark.parametrize("form", ["hex", "base64url", "token"])
def test_a_secret_is_found_however_it_is_written(form: str) -> None:
    secret = KeyPair.generate().signing.seed  # type: ignore[attr-defined]
    secrets_seen.note("eyJhbGciOiJFUzI1NiJ9.the-claims-of-a-token.and-its-signature")
    text = {
        "hex": f"key={secret.hex()};",
        "base64url": f"'{base64.urlsafe_b64encode(secret).decode()}'",
        "token": "Bearer eyJhbGciOiJFUzI1NiJ9.the-claims-of-a-token.and-its-signature",
    }[form]
    assert secrets_seen.found_in([text]) != []


def test_other_texts_are_no_secrets() -> None:
    """A kid, a header that all tokens share, and a sentence."""
    pair = KeyPair.generate()
    secrets_seen.note("eyJhbGciOiJFUzI1NiJ9.claims-of-some-token.its-own-signature")
    assert secrets_seen.found_in([pair.kid.hex(), "eyJhbGciOiJFUzI1NiJ9", repr(pair), "nothing to be seen here"]) == []


def test_child_processes_are_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[object] = []
    monkeypatch.setattr(secrets_seen, "show", heard.append)
    subprocess.run([sys.executable, "-c", "print('from a child')"], capture_output=True, check=True)
    assert any(b"from a child" in one for one in heard if isinstance(one, bytes))
