"""The identity of the detectors: digests of our own tables, and of the data that they read from installed packages.

Both are written here as constants, so that no process has to load the detectors to name its engine: a client follows
the log of a tenant without any of the packages. A process that decides has them in exactly these versions, or it says
ENGINE_MISSING (`processors/state/engines.py`). A detector that loads data with another digest raises, and so denies.
`tests/processors/content/test_identity.py` compares our own.
"""

from __future__ import annotations

from hashlib import sha256

from schemas.errors import StoppedError

# INVARIANT: `processors.content.statements.own_digest()`; it moves with every rule, and a moved one is another engine.
OWN_SHA256 = bytes.fromhex("ae9abdb010ec814bfdfa3fc6d41802b6888274752a7f1361cdf427e2cab92bbf")
# Packages whose code or data decide, each with its version. INVARIANT: the pins of `server` in `pyproject.toml`.
PACKAGES = (
    ("detect-secrets", "1.5.0"),
    ("jsonschema-rs", "0.61.2"),
    ("phonenumbers", "9.0.43"),
    ("pyatr", "0.3.1"),
    ("tree-sitter", "0.26.1"),
    ("tree-sitter-bash", "0.25.1"),
)


class DetectorDataError(StoppedError):
    """The data of a package are not those that the engine names."""

    code = "ENGINE_DATA"


def detectors() -> tuple[tuple[str, bytes], ...]:
    """Return the data of the detectors as (name, SHA-256). A package counts by its version: releases do not change."""
    return (
        ("detectors/1", OWN_SHA256),
        *((f"{name}/{version}", sha256(f"{name} {version}".encode()).digest()) for name, version in PACKAGES),
    )
