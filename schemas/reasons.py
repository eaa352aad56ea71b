"""Every reason a record is refused or a call denied, in one place. Codes are stable: people and programs match on them.

Publishing a policy adds the `E_…` codes of the policy language, which stand with its parser.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """A stable reason code. The value is the code; `EXPLAINED` says what it means and what to do."""

    # The bytes
    UNDECODABLE = "UNDECODABLE"
    UNKNOWN_SCHEMA = "UNKNOWN_SCHEMA"
    TRAILING_BYTES = "TRAILING_BYTES"
    OVERSIZED = "OVERSIZED"
    MALFORMED_HEADER = "MALFORMED_HEADER"
    # Its place
    UNREADABLE_BATCH = "UNREADABLE_BATCH"
    RULING_FORM = "RULING_FORM"
    RULING_UNUSED = "RULING_UNUSED"
    # The signature
    MALFORMED_PROOF = "MALFORMED_PROOF"
    HEAD_TOO_LARGE = "HEAD_TOO_LARGE"
    BAD_SIGNATURE = "BAD_SIGNATURE"
    BAD_KEY = "BAD_KEY"
    UNKNOWN_KEY = "UNKNOWN_KEY"
    REVOKED_KEY = "REVOKED_KEY"
    EXPIRED_KEY = "EXPIRED_KEY"
    EXPIRED_SESSION = "EXPIRED_SESSION"
    WRONG_ROLE = "WRONG_ROLE"
    WRONG_PRINCIPAL = "WRONG_PRINCIPAL"
    # Time and order
    REPLAYED = "REPLAYED"
    DUPLICATE = "DUPLICATE"
    EQUIVOCATION = "EQUIVOCATION"
    STALE = "STALE"
    FUTURE = "FUTURE"
    # Founding and the registry
    NOT_GENESIS = "NOT_GENESIS"
    BAD_POSSESSION = "BAD_POSSESSION"
    BAD_ROOT_SIGNATURES = "BAD_ROOT_SIGNATURES"
    KEY_TAKEN = "KEY_TAKEN"
    NAME_INVALID = "NAME_INVALID"
    ENROLMENT_EXCEEDED = "ENROLMENT_EXCEEDED"
    REGISTRATION_CONFLICT = "REGISTRATION_CONFLICT"
    RESOURCE_TAKEN = "RESOURCE_TAKEN"
    ATTRIBUTE_INVALID = "ATTRIBUTE_INVALID"
    UNKNOWN_PRINCIPAL = "UNKNOWN_PRINCIPAL"
    SESSION_TTL = "SESSION_TTL"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    NOT_SUPPORTED = "NOT_SUPPORTED"
    NOT_DEVELOPMENT = "NOT_DEVELOPMENT"
    # Decisions
    DEADLINE_PASSED = "DEADLINE_PASSED"
    ALREADY_CALLED = "ALREADY_CALLED"
    IDEMPOTENCY_CONFLICT = "IDEMPOTENCY_CONFLICT"
    IDEMPOTENCY_KEY = "IDEMPOTENCY_KEY"
    MALFORMED_PARAMETERS = "MALFORMED_PARAMETERS"
    RESOURCE_INVALID = "RESOURCE_INVALID"
    RESOURCE_DENIED = "RESOURCE_DENIED"
    RESOURCE_NOT_ALLOWED = "RESOURCE_NOT_ALLOWED"
    NO_POLICY = "NO_POLICY"
    LAYER_MISSING = "LAYER_MISSING"
    POLICY_BROKEN = "POLICY_BROKEN"
    POLICY_NOT_YET_VALID = "POLICY_NOT_YET_VALID"
    POLICY_EXPIRED = "POLICY_EXPIRED"
    ROLE_REQUIRED = "ROLE_REQUIRED"
    DELEGATION_REVOKED = "DELEGATION_REVOKED"
    DELEGATION_EXPIRED = "DELEGATION_EXPIRED"
    DELEGATION_BROKEN = "DELEGATION_BROKEN"
    DELEGATION_DEPTH = "DELEGATION_DEPTH"
    DELEGATION_SCOPE = "DELEGATION_SCOPE"
    DELEGATION_CONDITION = "DELEGATION_CONDITION"
    PARAM_REQUIRED = "PARAM_REQUIRED"
    PARAM_TYPE = "PARAM_TYPE"
    PARAM_NOT_ALLOWED = "PARAM_NOT_ALLOWED"
    PARAM_OUT_OF_RANGE = "PARAM_OUT_OF_RANGE"
    PARAM_PATTERN = "PARAM_PATTERN"
    PARAM_SIZE = "PARAM_SIZE"
    PARAM_UNLISTED = "PARAM_UNLISTED"
    PARAM_DENIED = "PARAM_DENIED"
    CONDITION_DENIED = "CONDITION_DENIED"
    SEQUENCE_MISSING = "SEQUENCE_MISSING"
    SEQUENCE_LIMIT = "SEQUENCE_LIMIT"
    SEQUENCE_TOTAL = "SEQUENCE_TOTAL"
    SEQUENCE_TAINT = "SEQUENCE_TAINT"
    RATE_LIMITED = "RATE_LIMITED"
    ATTESTATION_MISSING = "ATTESTATION_MISSING"
    ATTESTATION_EXPIRED = "ATTESTATION_EXPIRED"
    ATTESTATION_CONSUMED = "ATTESTATION_CONSUMED"
    ATTESTATION_REVOKED = "ATTESTATION_REVOKED"
    ATTESTATION_WRONG_SETTER = "ATTESTATION_WRONG_SETTER"
    APPROVAL_DENIED = "APPROVAL_DENIED"
    APPROVAL_EXPIRED = "APPROVAL_EXPIRED"
    APPROVAL_CONSUMED = "APPROVAL_CONSUMED"
    APPROVAL_QUORUM = "APPROVAL_QUORUM"
    APPROVAL_REQUIRED = "APPROVAL_REQUIRED"
    APPROVAL_TIMEOUT = "APPROVAL_TIMEOUT"
    APPROVAL_PENDING = "APPROVAL_PENDING"
    PROMPT_MISSING = "PROMPT_MISSING"
    PROMPT_UNKNOWN = "PROMPT_UNKNOWN"
    PROMPT_DEPTH = "PROMPT_DEPTH"
    PROMPT_MISMATCH = "PROMPT_MISMATCH"
    TOOL_UNAVAILABLE = "TOOL_UNAVAILABLE"
    OUTPUT_TOO_LARGE = "OUTPUT_TOO_LARGE"
    OUTPUT_NOT_JSON = "OUTPUT_NOT_JSON"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    # Workflow state
    ATTESTATION_FORM = "ATTESTATION_FORM"
    ATTESTATION_SESSION = "ATTESTATION_SESSION"
    ATTESTATION_NOT_DECLARED = "ATTESTATION_NOT_DECLARED"
    ATTESTATION_UNKNOWN = "ATTESTATION_UNKNOWN"
    APPROVAL_UNKNOWN = "APPROVAL_UNKNOWN"
    APPROVAL_CLOSED = "APPROVAL_CLOSED"
    APPROVAL_MISMATCH = "APPROVAL_MISMATCH"
    APPROVER_NOT_AUTHORIZED = "APPROVER_NOT_AUTHORIZED"
    APPROVER_IS_REQUESTER = "APPROVER_IS_REQUESTER"
    APPROVER_DUPLICATE = "APPROVER_DUPLICATE"
    DELEGATION_SELF = "DELEGATION_SELF"
    DELEGATION_CYCLE = "DELEGATION_CYCLE"
    DELEGATION_PARENT = "DELEGATION_PARENT"
    DELEGATION_FORM = "DELEGATION_FORM"
    DELEGATION_UNKNOWN = "DELEGATION_UNKNOWN"
    VAULT_FORM = "VAULT_FORM"
    VAULT_ABSENT = "VAULT_ABSENT"
    VALUE_TOO_LARGE = "VALUE_TOO_LARGE"
    VERSION_CONFLICT = "VERSION_CONFLICT"
    UNKNOWN_SESSION = "UNKNOWN_SESSION"
    APPLICATION_EVENT = "APPLICATION_EVENT"
    QUERY_INVALID = "QUERY_INVALID"
    # Results
    MALFORMED_RESULT = "MALFORMED_RESULT"
    NOT_THE_TOOL = "NOT_THE_TOOL"
    LATE_RESULT = "LATE_RESULT"
    NO_REPORT = "NO_REPORT"


EXPLAINED: dict[Reason, str] = {
    Reason.UNDECODABLE: "the bytes are not one Avro datum of their schema",
    Reason.UNKNOWN_SCHEMA: "no published schema has this id: bring the sender and the monitor to one version",
    Reason.TRAILING_BYTES: "bytes follow the datum",
    Reason.OVERSIZED: "the event is larger than its limit (256 KiB; a result 1 MiB)",
    Reason.MALFORMED_HEADER: "a field of the event's header has the wrong size",
    Reason.UNREADABLE_BATCH: "the record cannot be read from its topic, and an admin has ruled that it is skipped",
    Reason.RULING_FORM: "a ruling names offsets from first to last, not after its own, and gives a reason",
    Reason.RULING_UNUSED: "no worker waited for this ruling: what it is about was folded without it",
    Reason.MALFORMED_PROOF: "`macaw-proof` and `macaw-kid` must each stand once and have the right shape",
    Reason.HEAD_TOO_LARGE: "a signed head covers at most 1024 records",
    Reason.BAD_SIGNATURE: "the signature does not verify, or was made for another topic, partition or tenant",
    Reason.BAD_KEY: "the offered public key is not a valid point",
    Reason.UNKNOWN_KEY: "the key is not in the registry: register the principal or open a session first",
    Reason.REVOKED_KEY: "the key was revoked",
    Reason.EXPIRED_KEY: "the key's registration has ended",
    Reason.EXPIRED_SESSION: "the session has ended: open a new one",
    Reason.WRONG_ROLE: "keys of this role may not sign this event",
    Reason.WRONG_PRINCIPAL: "the event names another principal or session than its key belongs to",
    Reason.REPLAYED: "the sequence number is below the last one of this key",
    Reason.DUPLICATE: "the same event again: it has its answer already",
    Reason.EQUIVOCATION: "two different events with one sequence number: the key signs in two places",
    Reason.STALE: "issued more than 300 s before it was appended: check the sender's clock",
    Reason.FUTURE: "issued more than 10 s ahead, or numbered more than 60 s ahead: check the sender's clock",
    Reason.NOT_GENESIS: "not the founding event that this tenant is configured with, or not at offset 0",
    Reason.BAD_POSSESSION: "the new key did not sign its own registration",
    Reason.BAD_ROOT_SIGNATURES: "too few distinct root keys signed the act",
    Reason.KEY_TAKEN: "the public key is registered, or rows of its last session are still here: one key, one role",
    Reason.NAME_INVALID: "the name is empty, too long, reserved or outside what the signer may register",
    Reason.ENROLMENT_EXCEEDED: "the enrolment key is used up: an admin registers a further one of its name",
    Reason.REGISTRATION_CONFLICT: "the name stands with another role, operations, spelling or registrar",
    Reason.RESOURCE_TAKEN: "another tool offers this resource",
    Reason.ATTRIBUTE_INVALID: "attributes are too many, too long, repeated or misleading, or not the signer's to give",
    Reason.UNKNOWN_PRINCIPAL: "no such principal or key is registered",
    Reason.SESSION_TTL: "a session lives between 1 ms and 24 h",
    Reason.LIMIT_EXCEEDED: "a limit or a share of it is reached, or a call costs too much work: the detail says which",
    Reason.NOT_SUPPORTED: "this version does not know how to honour a field that was set",
    Reason.NOT_DEVELOPMENT: "persons from a file are believed only in tenants founded with `--development`",
    Reason.DEADLINE_PASSED: "the caller's time for the call is over, or its clock is slow; it has not run, nor will it",
    Reason.ALREADY_CALLED: "a call with this idempotency key stands: this is not executed again; the detail names it",
    Reason.IDEMPOTENCY_CONFLICT: "the idempotency key stands for another call: take a new key for a new call",
    Reason.IDEMPOTENCY_KEY: "an idempotency key has 1 to 128 bytes",
    Reason.MALFORMED_PARAMETERS: "the parameters are not one strict JSON object; the detail names the cause",
    Reason.RESOURCE_INVALID: "not a well-formed resource name",
    Reason.RESOURCE_DENIED: "a policy denies this resource",
    Reason.RESOURCE_NOT_ALLOWED: "a policy that applies does not list this resource",
    Reason.NO_POLICY: "no policy that may grant allows this resource",
    Reason.LAYER_MISSING: "the principal lacks an attribute: a company, where companies have policies",
    Reason.POLICY_BROKEN: "a policy that applies cannot be honoured: its parent is gone, or an intent is faulty",
    Reason.POLICY_NOT_YET_VALID: "a policy that applies permits nothing before its time",
    Reason.POLICY_EXPIRED: "a policy that applies permits nothing after its time",
    Reason.ROLE_REQUIRED: "a policy wants the caller to hold one of some roles",
    Reason.DELEGATION_REVOKED: "a delegation of the chain, or one of its principals, was revoked",
    Reason.DELEGATION_EXPIRED: "a delegation of the chain has ended",
    Reason.DELEGATION_BROKEN: "the delegations do not lead to the signer, or a person among them is not known now",
    Reason.DELEGATION_DEPTH: "the chain of delegations is too long",
    Reason.DELEGATION_SCOPE: "the resource is outside what was delegated",
    Reason.DELEGATION_CONDITION: "a condition of a delegation does not hold",
    Reason.PARAM_REQUIRED: "a policy requires a parameter that is absent",
    Reason.PARAM_TYPE: "a parameter is null or of another type than the policy can judge",
    Reason.PARAM_NOT_ALLOWED: "a parameter's value is not among those a policy allows",
    Reason.PARAM_OUT_OF_RANGE: "a number is beyond the bounds that a policy sets",
    Reason.PARAM_PATTERN: "a text does not match the pattern that a policy asks for",
    Reason.PARAM_SIZE: "a text or a list is longer or shorter than a policy allows",
    Reason.PARAM_UNLISTED: "the call has a parameter that a policy does not list",
    Reason.PARAM_DENIED: "a parameter holds what a policy forbids, in some spelling",
    Reason.CONDITION_DENIED: "a policy forbids the call under a condition that holds, or that cannot be told",
    Reason.SEQUENCE_MISSING: "a policy wants another call to have ended well before",
    Reason.SEQUENCE_LIMIT: "a policy allows only so many such calls",
    Reason.SEQUENCE_TOTAL: "the sum over such calls would exceed what a policy allows, or is no number",
    Reason.SEQUENCE_TAINT: "an earlier call of the session rules this one out",
    Reason.RATE_LIMITED: "too many calls in a minute: the detail says after how many ms to try again",
    Reason.ATTESTATION_MISSING: "a policy requires an attestation that nobody has made",
    Reason.ATTESTATION_EXPIRED: "the attestation that a policy requires is too old",
    Reason.ATTESTATION_CONSUMED: "the attestation that a policy requires is used up",
    Reason.ATTESTATION_REVOKED: "the attestation that a policy requires was revoked",
    Reason.ATTESTATION_WRONG_SETTER: "the attestation was made by a tool that the policy does not name",
    Reason.APPROVAL_DENIED: "somebody who may approve has said no",
    Reason.APPROVAL_EXPIRED: "the approval is too old",
    Reason.APPROVAL_CONSUMED: "the approval is used up",
    Reason.APPROVAL_QUORUM: "too few people have approved in time",
    Reason.APPROVAL_REQUIRED: "a policy requires an approval, and this call does not wait for one",
    Reason.APPROVAL_TIMEOUT: "nobody has approved in time",
    Reason.APPROVAL_PENDING: "the call waits for an approval",
    Reason.PROMPT_MISSING: "the tool takes a parameter as an authenticated prompt, and the call brings none for it",
    Reason.PROMPT_UNKNOWN: "the prompt that another derives from is not known, or belongs to another session or call",
    Reason.PROMPT_DEPTH: "too many prompts derive from one another",
    Reason.PROMPT_MISMATCH: "a prompt does not name one value of the call's parameters",
    Reason.TOOL_UNAVAILABLE: "allowed by policy, but no live tool offers this resource",
    Reason.OUTPUT_TOO_LARGE: "the record to be written would exceed its limit; its digest stands in its place",
    Reason.OUTPUT_NOT_JSON: "the answer holds what JSON cannot say, and is not given",
    Reason.INTERNAL_ERROR: "a rule failed in a way that nobody foresaw; the record has no effect, a call is denied",
    Reason.ATTESTATION_FORM: "an attestation's key, value, uses or life is not well formed",
    Reason.ATTESTATION_SESSION: "the session is over, or the signer has nothing to say about it",
    Reason.ATTESTATION_NOT_DECLARED: "the signer's registration does not list this attestation key, or pattern of keys",
    Reason.ATTESTATION_UNKNOWN: "no such attestation or grant",
    Reason.APPROVAL_UNKNOWN: "nothing like this is asked for, or not from you",
    Reason.APPROVAL_CLOSED: "the request is over: approved, denied, cancelled, or past its time",
    Reason.APPROVAL_MISMATCH: "the approval names other parameters than the call has",
    Reason.APPROVER_NOT_AUTHORIZED: "the approver meets none of the criteria, or may not approve",
    Reason.APPROVER_IS_REQUESTER: "nobody approves a call that is made in their own name",
    Reason.APPROVER_DUPLICATE: "a person approves once",
    Reason.DELEGATION_SELF: "nobody delegates to themselves",
    Reason.DELEGATION_CYCLE: "the delegate stands in the chain already",
    Reason.DELEGATION_PARENT: "the delegation to be narrowed is not known, or was not granted to the signer",
    Reason.DELEGATION_FORM: "the scope is malformed, or names neither resources nor operations",
    Reason.DELEGATION_UNKNOWN: "no such delegation",
    Reason.VAULT_FORM: "a scope, key, value, life or page of the vault is not well formed",
    Reason.VAULT_ABSENT: "there is no such key",
    Reason.VALUE_TOO_LARGE: "a value of the vault has at most 64 KiB",
    Reason.VERSION_CONFLICT: "somebody changed the key meanwhile: read it again; the detail holds its version",
    Reason.UNKNOWN_SESSION: "no such session, or it was revoked already",
    Reason.APPLICATION_EVENT: "a field of the application's event is not well formed",
    Reason.QUERY_INVALID: "the question, or its argument, is not well formed",
    Reason.MALFORMED_RESULT: "a report's outcome or body is not well formed",
    Reason.NOT_THE_TOOL: "the report is signed by another tool than the decision names",
    Reason.LATE_RESULT: "the decision is not open: its outcome is final, or it never was",
    Reason.NO_REPORT: "the tool host did not report in time: the call may or may not have run",
}
