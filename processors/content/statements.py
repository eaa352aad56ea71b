"""The statement of all our detectors: their tables and rules, of which the engine names the digest."""

from __future__ import annotations

from hashlib import sha256

from processors.content import (
    commands,
    injection,
    parameter_schemas,
    personal,
    risks,
    secret_tokens,
    shell,
    value_readings,
)
from processors.proof import jcs
from processors.proof.jcs import JSONValue


def statement() -> JSONValue:
    """Return the tables of every detector by its name."""
    return {
        "commands": commands.statement(),
        "injection": injection.statement(),
        "parameter_schemas": parameter_schemas.statement(),
        "personal": personal.statement(),
        "risks": risks.statement(),
        "secret_tokens": secret_tokens.statement(),
        "shell": shell.statement(),
        "value_readings": value_readings.statement(),
    }


def own_digest() -> bytes:
    """Return the SHA-256 of the statement's canonical JSON."""
    return sha256(jcs.canonical(statement())).digest()
