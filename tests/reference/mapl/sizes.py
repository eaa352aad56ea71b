"""Documents at the limits of docs/mapl.md 1, and `extra` beyond them."""

import json


def documents(extra: int) -> dict[str, str]:
    """Texts of documents that are just as large as they may be, or larger by `extra` of what is counted."""
    constraints = {
        "operation keys": {"parameters": {f"tool:{i}": {} for i in range(256 + extra)}},
        "denied operation keys": {"denied_parameters": {f"tool:{i}": {} for i in range(256 + extra)}},
        "paths": {"parameters": {"**": {f"p{i}": [1] for i in range(128 + extra)}}},
        "members": {"parameters": {"**": {"p": [0] * (1024 + extra)}}},
        "denied items": {"denied_parameters": {"**": {"p": [0] * (1024 + extra)}}},
        "regex": {"parameters": {"**": {"p": {"pattern": "x" * (512 + extra)}}}},
    }
    bodies: dict[str, dict[str, object]] = {name: {"constraints": value} for name, value in constraints.items()}
    bodies |= {
        "patterns": {"resources": ["tool:x"] * (512 + extra)},
        "pattern": {"resources": ["x" * (512 + extra)]},
        "requirements": {"attestations": ["k"] * (64 + extra)},
        "text": {"description": "x" * (1024 + extra)},
    }
    texts = {name: json.dumps({"policy_id": "a:b", **body}) for name, body in bodies.items()}
    texts["bytes"] = '{"policy_id":"a:b"}'.ljust(64 * 1024 + extra)
    return texts


def expressions(extra: int) -> dict[str, str]:
    """Conditions at the limits: 2048 characters, depth 32, 256 nodes.

    A bare path is two nodes, the test and its operand; so 127 of them, one OR and one NOT are 256.
    """
    return {
        "characters": "a".ljust(2048 + extra),
        "depth": "NOT " * (32 + extra) + "a",
        "nodes": " OR ".join(["NOT a"] * (1 + extra) + ["a"] * (126 - extra)),
    }


def inline(extra: int) -> dict[str, list[str]]:
    """Intents at the limits of inline documents."""
    bodies: dict[str, dict[str, object]] = {
        "patterns": {"resources": ["**"] * (64 + extra)},
        "requirements": {"attestations": ["deny::{1 == params.n}"] * (16 + extra)},
        "regexes": {"attestations": [" OR ".join(["k::{x MATCHES /a/"] + ["x MATCHES /a/"] * (7 + extra)) + "}"]},
        "regex": {"constraints": {"parameters": {"s": {"pattern": "x" * (128 + extra)}}}},
    }
    texts = {name: [json.dumps(body)] for name, body in bodies.items()}
    return texts | {"bytes": ["{}".ljust(8 * 1024 + extra)], "intents": ["{}"] * (2 + extra)}
