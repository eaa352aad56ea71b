"""Results that a verifier is shown, as its host reads them from `results`.

The report is known by its leaf: the judge sees the bytes of the leaf that its verdict names, and no others. The rest is
the monitor's word, the name of the resource among it; the log compares it with its own.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, NamedTuple

from processors.proof import jcs, sealing, signing
from producers.home.keys import KeyPair
from producers.kafka.verified import MonitorSigned, UntrustedRecordError
from producers.tools.asked_calls import is_sealed_to, sealed_of
from schemas import codec, limits
from schemas.records import Result, ResultPayload, ResultReported


class AskedResult(NamedTuple):
    """A result that is marked until a verifier passes it. `value` and `attestations` are the judge's own copies.

    `outcome` is `ok`, or `failed` with the words of the failure as its value. `attestations` are the values that the
    tool states with the result, by key. `event` is the leaf of the report.
    """

    event_id: bytes
    session_id: bytes
    resource: str
    outcome: str
    value: Any
    attestations: dict[str, Any]
    body_sha256: bytes
    event: bytes


def asked_result_of(message: Any, trusted: MonitorSigned, *, key: KeyPair, now_ms: int) -> AskedResult | None:
    """Return the result in a record of `results` that the holder of a key is shown; None for every other record.

    Raises:
        UntrustedRecordError: no live monitor key signed it, or it does not hold the report that it names.
        RegistryError: the registry cannot be read, so nothing can be told now.
    """
    sealed = sealed_of(message)
    if sealed is None or not is_sealed_to(sealed, key.kid):
        return None
    result, _, sender = trusted.verify(message, signing.RESULT_TAG, Result)
    if result.report is None or result.payload_sha256 is None or result.to == key.kid:
        return None  # an answer to this verifier itself
    if now_ms > result.at + limits.RESULT_VERDICT_MS + limits.ISSUED_AHEAD_MS_MAX:
        return None
    try:
        payload: ResultPayload = codec.decode(
            codec.current("ResultPayload"), key.open_sealed(sealed, sender, result.payload_sha256)
        )
    except (sealing.SealingError, codec.SchemaError) as exc:
        raise UntrustedRecordError(str(exc)) from exc
    event, leaf = trusted.read_event(payload.event)
    body = event.body
    if leaf != result.report or not isinstance(body, ResultReported):
        raise UntrustedRecordError("the result holds another event than the report that it names")
    if (body.decision, event.header.causation_id) != (result.decision, result.event):
        raise UntrustedRecordError("the report is about another call than the result")
    try:
        value: Any = jcs.parse_strict(body.body.encode(), nodes_max=limits.RESULT_EVENT_BYTES_MAX)
        stated: dict[str, Any] = {one.key: jcs.parse_strict(one.value.encode()) for one in body.attestations}
    except (jcs.MalformedJSONError, UnicodeEncodeError) as exc:
        raise UntrustedRecordError("the report is not strict JSON") from exc
    digest = sha256(body.body.encode()).digest()
    return AskedResult(result.event_id, result.to, result.detail, body.outcome, value, stated, digest, leaf)
