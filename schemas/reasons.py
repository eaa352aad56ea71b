"""Every reason a record is refused or a call denied, in one table. Codes are stable: people and programs match on them.

Publishing a policy adds the `E_…` codes of the policy language, which stand with its parser.
"""

from __future__ import annotations

from enum import StrEnum, auto
from typing import Any, Self


class ReasonCode(StrEnum):
    """A stable code of a closed list: `meaning` names the fault, `step` the next act.

    A member is written `NAME = auto(), meaning, step`; its value is its name.
    """

    meaning: str
    step: str

    def __new__(cls, code: str, meaning: str, step: str) -> Self:
        """Make a member of a row of the table."""
        made = str.__new__(cls, code)
        made._value_, made.meaning, made.step = code, meaning, step
        return made

    @staticmethod
    def _generate_next_value_(name: str, *_: Any) -> str:
        return name


class Reason(ReasonCode):
    """The reason code of a refused record or a denied call."""

    # fmt: off
    # The bytes
    UNDECODABLE = auto(), "the bytes are not one Avro datum of their schema", "send what this version's client writes"
    UNKNOWN_SCHEMA = auto(), "no published schema has this id", "bring the sender and the monitor to one version"
    TRAILING_BYTES = auto(), "bytes follow the datum", "send the datum alone"
    OVERSIZED = auto(), "the event is larger than its limit (256 KiB; a result 1 MiB)", "send less in one event"
    MALFORMED_HEADER = auto(), "a field of the event's header has the wrong size", \
        "build the header as docs/wire.md says"
    # Its place
    UNREADABLE_BATCH = auto(), "the record cannot be read, and an administrator ruled to skip it", \
        "send the event again"
    RULING_FORM = auto(), "the ruling is malformed", \
        "name offsets from first to last, none after the ruling's own, and give a reason"
    RULING_UNUSED = auto(), "no worker waited for this ruling: its records were folded without it", \
        "nothing is to be done"
    RULED_OUT = auto(), "the roots remove the administrator who signed this, at a later offset", \
        "look at the administrator's other records; send it again with another's key if it was meant"
    # The signature
    MALFORMED_PROOF = auto(), "`macaw-proof` or `macaw-kid` is missing, stands twice or has the wrong shape", \
        "send each once, as docs/wire.md says"
    HEAD_TOO_LARGE = auto(), "the signed head covers more than 1024 records", "sign smaller bursts"
    BAD_SIGNATURE = auto(), "the signature does not verify", \
        "sign these very bytes, for this topic, partition and tenant"
    BAD_KEY = auto(), "the offered public key is not a valid point", "make a new key pair"
    UNKNOWN_KEY = auto(), "the key is not in the registry", "register the principal or open a session first"
    REVOKED_KEY = auto(), "the key was revoked", "register a new key"
    EXPIRED_KEY = auto(), "the key's registration has ended", "register a new key"
    EXPIRED_SESSION = auto(), "the session has ended", "open a new one"
    WRONG_ROLE = auto(), "keys of this role may not sign this event", \
        "sign with a key of a role that docs/authority.md names"
    WRONG_PRINCIPAL = auto(), "the event names another principal or session than its key belongs to", \
        "name the key's own"
    # Time and order
    REPLAYED = auto(), "the sequence number is below the last one of this key", "count on from the last one"
    DUPLICATE = auto(), "the same event came before", "read the answer that it got"
    EQUIVOCATION = auto(), "two different events have one sequence number: the key signs in two places", \
        "sign with it in one place"
    STALE = auto(), "the event was appended more than 300 s after it was issued", \
        "check the sender's clock, then send it anew"
    FUTURE = auto(), "the event is issued more than 10 s ahead, or numbered more than 60 s ahead", \
        "check the sender's clock"
    # Founding and the registry
    NOT_GENESIS = auto(), "this is not the founding event of the tenant, or it is not at offset 0", \
        "compare the tenant's genesis"
    PROVIDER_FORM = auto(), "the identity provider is not well described", \
        "correct the field that the detail names, see docs/identity.md"
    PROVIDER_CONFLICT = auto(), "names of this identity provider would be another's, or change their meaning", \
        "choose another namespace"
    UNKNOWN_PROVIDER = auto(), "the tenant does not trust this issuer now", \
        "let an administrator trust it: `macaw idp trust`"
    TOKEN_DIGEST = auto(), "a session from an identity provider names the SHA-256 of its token, of 32 bytes", \
        "bring the bridge to this version"
    LOGIN_PROOF = auto(), "the session has no well-formed proof of its login, or one where no login is", \
        "let the session's key sign the login, see docs/wire.md 16"
    LOGIN_EXPIRED = auto(), "the login has ended, or ends more than two minutes ahead of the log's time", \
        "check the clock of the machine that logs in, then log in anew"
    LOGIN_METHODS = auto(), "the methods of the login are too many, too long, repeated or not plain", \
        "let the bridge leave them out: a token that says too much says nothing of its methods"
    ACTOR_INVALID = auto(), "an actor of the login is not the principal of a provider that the tenant trusts", \
        "let an administrator trust the provider of the actor, or log in without actors"
    LOGIN_CHANGED = auto(), "the provider says something else of the principal than when the session was opened", \
        "log in anew: a session keeps its attributes"
    LOGIN_FORM = auto(), "the bridge's note on a login is not well formed", "bring the bridge to this version"
    ENGINE_FORM = auto(), "the data of an engine are not well formed, its number is far ahead, or there is no reason", \
        "name at most 64 data, in order, each once and with its SHA-256; give a reason"
    ENGINE_NOT_NEWER = auto(), "the tenant decides by this engine already, or by a later one", \
        "read the present one with `macaw engine show`"
    ENGINE_DATA_CONFLICT = auto(), "a name of data stands for other data on this log", \
        "give changed data a new name, with a new version in it"
    BAD_POSSESSION = auto(), "the new key did not sign its own registration", \
        "sign the offer with the key that it offers"
    BAD_ROOT_SIGNATURES = auto(), "too few distinct root keys signed the act", "collect the missing signatures"
    KEY_TAKEN = auto(), "the key is registered, or rows of its last session are still here", \
        "make a new key pair: one key has one role"
    NAME_INVALID = auto(), "the name is empty, too long, reserved or outside what the signer may register", \
        "choose another name"
    ENROLMENT_EXCEEDED = auto(), "the enrolment key is used up", \
        "ask an administrator to register a further one of its name"
    REGISTRATION_CONFLICT = auto(), "the name stands with another role, operations, spelling or registrar", \
        "choose another name, or revoke the old one"
    SCHEMA_INVALID = auto(), "the JSON schema of an operation is not one that this engine can judge", \
        "see docs/verifiers.md"
    RESOURCE_TAKEN = auto(), "another tool offers this resource", "choose another name for the operation"
    OFFER_KEY = auto(), "the session offered tools with another key before", \
        "offer tools with the same key, or open another session"
    OFFER_NOT_ALLOWED = auto(), "the principal's registration does not let its sessions offer this name", \
        "let an administrator register it with a pattern in `offers`"
    ATTRIBUTE_INVALID = auto(), "an attribute is too long, repeated or misleading, or not the signer's to give", \
        "see the detail for the attribute"
    NO_DECISION_KEY = auto(), "the tenant has no live decision key, and until it has one only root acts count", \
        "let an administrator register a monitor's key; see docs/incidents.md"
    UNKNOWN_PRINCIPAL = auto(), "no such principal or key is registered", "check the name, or register it"
    SESSION_TTL = auto(), "the session's life is out of bounds", "ask for 1 ms to 24 h"
    LIMIT_EXCEEDED = auto(), "a limit or a share of it is reached, or the call costs too much work", \
        "see the detail for the limit and when it frees"
    LIMIT_FORM = auto(), "a limit or setting is unknown, stands twice, or has a value that is not allowed", \
        "`macaw tenant limits` shows each limit with its floor and its cap; docs/limits.md has the settings"
    ENFORCEMENT_FORM = auto(), "an observe mode, freeze or break-glass is not well formed, or its thing is not there", \
        "see the detail for the field; docs/observe.md"
    CATALOGUE_FORM = auto(), "a catalogue, or a rule in it, is not well formed", \
        "see the detail for the rule; `macaw verifier import --dry-run` lists the rules that cannot be loaded"
    NOT_SUPPORTED = auto(), "this version cannot honour a field that was set", \
        "leave the field out, or bring the monitor up to date"
    NOT_DEVELOPMENT = auto(), "persons from a file are believed only in development tenants", \
        "found one with `--development`, or use a bridge"
    # Decisions
    DEADLINE_PASSED = auto(), "the caller's time for the call is over: it has not run and will not run", \
        "call again, and check the caller's clock"
    ALREADY_CALLED = auto(), "a call with this idempotency key stands, and this one is not executed", \
        "ask for the call that the detail names"
    IDEMPOTENCY_CONFLICT = auto(), "the idempotency key stands for another call", "take a new key for a new call"
    IDEMPOTENCY_KEY = auto(), "the idempotency key has a wrong length", "give 1 to 128 bytes"
    MALFORMED_PARAMETERS = auto(), "the parameters are not one strict JSON object", "see the detail for the cause"
    BODY_REFERENCE = auto(), "a body is named where the tool takes none, or otherwise than the call lists it", \
        "send values that travel beside the call with this version's client"
    FROZEN = auto(), "an administrator has frozen the tenant, the resource or a principal of the call", \
        "ask an administrator; `macaw unfreeze` ends it"
    RESOURCE_INVALID = auto(), "the resource's name is not well formed", "write it as `domain:app/operation`"
    RESOURCE_DENIED = auto(), "a policy denies this resource", "ask an administrator, or call another resource"
    RESOURCE_NOT_ALLOWED = auto(), "a policy that applies does not list this resource", \
        "ask an administrator to list it"
    NO_POLICY = auto(), "no policy that may grant allows this resource", \
        "ask an administrator for a policy that grants it"
    LAYER_MISSING = auto(), "the principal has no company, and companies have policies", "register it with its company"
    POLICY_BROKEN = auto(), "a policy that applies cannot be honoured: its parent is gone, or an intent is faulty", \
        "publish the parent, or mend the intent"
    POLICY_NOT_YET_VALID = auto(), "a policy that applies permits nothing before its time", "call when it has begun"
    POLICY_EXPIRED = auto(), "a policy that applies permits nothing after its time", \
        "ask an administrator to publish a new one"
    ROLE_REQUIRED = auto(), "a policy wants the caller to hold one of some roles", \
        "ask an administrator for one of them"
    DELEGATION_REVOKED = auto(), "a delegation of the chain, or one of its principals, was revoked", \
        "ask the delegator for a new one"
    DELEGATION_EXPIRED = auto(), "a delegation of the chain has ended", "ask the delegator for a new one"
    DELEGATION_BROKEN = auto(), "the delegations do not lead to the signer, or a person among them is not known now", \
        "let the person log in, or delegate anew"
    DELEGATION_DEPTH = auto(), "the chain of delegations is too long", "delegate with fewer steps between"
    DELEGATION_SCOPE = auto(), "the resource is outside what was delegated", "ask the delegator for a wider scope"
    DELEGATION_CONDITION = auto(), "a condition of a delegation does not hold", "call within what the delegation says"
    PARAM_REQUIRED = auto(), "a policy requires a parameter that is absent", "give the parameter"
    PARAM_TYPE = auto(), "a parameter is null or of another type than the policy can judge", \
        "give a value of the type that the tool declares"
    PARAM_NOT_ALLOWED = auto(), "a parameter's value is not among those a policy allows", "give an allowed value"
    PARAM_OUT_OF_RANGE = auto(), "a number is beyond the bounds that a policy sets", "give a number within them"
    PARAM_PATTERN = auto(), "a text does not match the pattern that a policy asks for", "give a text in that form"
    PARAM_SIZE = auto(), "a text or a list is longer or shorter than a policy allows", "give one of an allowed length"
    PARAM_UNLISTED = auto(), "the call has a parameter that a policy does not list", "leave the parameter out"
    PROMPT_INJECTION = auto(), "a parameter holds text that would instruct a model against its task", \
        "leave that text out, or let an administrator judge it; docs/verifiers.md"
    COMMAND_INJECTION = auto(), "a parameter holds a command where a value belongs", \
        "give the value alone; docs/verifiers.md"
    PERSONAL_DATA = auto(), "a parameter holds personal data that the tenant keeps out of calls", "leave it out"
    SECRET_FOUND = auto(), "a parameter holds a secret, such as a token or a private key", \
        "send it as a body at a path that the tool declares opaque, or leave it out"
    TEXT_UNREAD = auto(), "the parameters hold more text than verifiers read, and the tenant lets none pass unread", \
        "send less in one call, send the text as a body at an opaque path, or let policies judge: docs/verifiers.md"
    PARAMETERS_INVALID = auto(), "the parameters do not fit the schema that the tool declares", \
        "compare the parameter that the detail names with the tool's schema"
    PARAM_NOT_MASKABLE = auto(), \
        "a policy masks a parameter that the tool does not declare maskable, or that no token can stand for", \
        "leave the value out, or let the owner of the tool declare the path: docs/verifiers.md"
    MASK_FORM = auto(), "`maskable_paths` of a declaration is not well formed", "see the detail for the part"
    RESULT_WITHHELD = auto(), "the tool's result holds what the tenant keeps from callers", \
        "ask an administrator: the report stands on the log for those who may read it"
    VERIFIER_DENIED = auto(), "a verifier outside denies the call", \
        "see the findings in the decision; docs/verifiers.md"
    VERIFIER_ASKS = auto(), "a verifier outside asks for people, and no policy has people approve this call", \
        "ask an administrator for a policy that requires an approval"
    VERDICT_MISSING = auto(), "the verdict of a required verifier did not come in time, or no longer counts", \
        "see whether the verifier runs, then call again"
    VERDICT_PENDING = auto(), "the call waits for the verdict of a verifier", "wait: its verifiers were asked"
    VERDICT_STALE = auto(), "a verdict has expired, is too old, or rests on another catalogue than is registered", \
        "let the verifier judge anew"
    VERDICT_FORM = auto(), "a verdict is not well formed, or has other stamps than its verifier declared", \
        "see the detail for the part"
    VERDICT_MISMATCH = auto(), "a verdict is about another call or result, or its verifier does not judge this one", \
        "staple a verdict to the very call that it names"
    VERDICT_DUPLICATE = auto(), "a verifier has judged this already, or another call waits under its event id", \
        "leave the second one out"
    VERDICT_UNKNOWN = auto(), "no call waits for this verdict; no such result was shown to its verifier lately", \
        "nothing is to be done: the call is decided, and the result stays marked"
    VERDICT_UNSIGNED = auto(), "no live key of a verifier has signed a verdict that came with the call", \
        "staple what the verifier signed"
    VERIFIER_FORM = auto(), "the declaration of a verifier is not well formed", "see the detail for the part"
    BODY_UNSEEN = auto(), "a policy looks at a value that travels beside the call, and cannot see it", \
        "send it inside the call, or ask an administrator for a policy that does not look at it"
    PARAM_DENIED = auto(), "a parameter holds what a policy forbids, in some spelling", "give another value"
    CONDITION_DENIED = auto(), "a policy forbids the call under a condition that holds, or that cannot be told", \
        "change what the condition asks about"
    SEQUENCE_MISSING = auto(), "a policy wants another call to have ended well before", "make that call first"
    SEQUENCE_LIMIT = auto(), "a policy allows only so many such calls", \
        "wait until the window has passed, or ask an administrator"
    SEQUENCE_TOTAL = auto(), "the sum over such calls would exceed what a policy allows, or is not a number", \
        "ask for less, or wait until the window has passed"
    SEQUENCE_TAINT = auto(), "an earlier call of the session rules this one out", "open a new session for it"
    SEQUENCE_PROVENANCE = auto(), "a value came from a source that a policy rules out, and no person said it", \
        "let the person name the value in an authenticated prompt, or ask for an approval if the policy offers one"
    RATE_LIMITED = auto(), "too many calls came in a minute", "try again after the ms that the detail names"
    ATTESTATION_MISSING = auto(), "a policy requires an attestation that is not there", \
        "let its setter make it, then call again"
    ATTESTATION_EXPIRED = auto(), "the attestation that a policy requires is too old", "let its setter make a new one"
    ATTESTATION_CONSUMED = auto(), "the attestation that a policy requires is used up", "let its setter make a new one"
    ATTESTATION_REVOKED = auto(), "the attestation that a policy requires was revoked", "let its setter make a new one"
    ATTESTATION_WRONG_SETTER = auto(), "the attestation was made by a tool that the policy does not name", \
        "let a tool that it names make one"
    APPROVAL_DENIED = auto(), "an approver said no", "ask the approver for the reason"
    APPROVAL_EXPIRED = auto(), "the approval is too old", "call again, and ask for a new one"
    APPROVAL_CONSUMED = auto(), "the approval is used up", "call again, and ask for a new one"
    APPROVAL_QUORUM = auto(), "too few people approved in time", "call again, and tell the approvers"
    APPROVAL_REQUIRED = auto(), "a policy requires an approval, and this call does not wait for one", \
        "ask for it, or start a call that waits"
    APPROVAL_TIMEOUT = auto(), "no approver answered in time", "call again, and tell the approvers"
    APPROVAL_PENDING = auto(), "the call waits for an approval", "tell the approvers, or wait"
    PROMPT_MISSING = auto(), "the tool takes a parameter as an authenticated prompt, and the call brings none for it", \
        "bring the prompt"
    PROMPT_UNKNOWN = auto(), "the parent of a prompt is not known, or belongs to another session or call", \
        "derive from a prompt of this session"
    PROMPT_DEPTH = auto(), "too many prompts derive from one another", "begin with a new prompt"
    PROMPT_MISMATCH = auto(), "a prompt does not name one value of the call's parameters", \
        "sign the very value that the call has"
    TOOL_UNAVAILABLE = auto(), "policies allow the call, but no live tool offers this resource", \
        "start the tool, or register it"
    PARENT_CALL = auto(), "the call is made within another one that this session does not execute, or not any more", \
        "call while the tool runs, from the session that runs it"
    ONLY_WITHIN_CALLS = auto(), "the principal may call only while it executes a call of another", \
        "call from a tool's function, or let an administrator register the principal anew"
    OUTPUT_TOO_LARGE = auto(), "the record to be written exceeds its limit; its digest stands in its place", \
        "ask for less at once"
    OUTPUT_NOT_JSON = auto(), "the answer holds a value that JSON cannot say, and is not given", \
        "ask an administrator to look at the row"
    INTERNAL_ERROR = auto(), "a rule failed unforeseen: the record has no effect, and a call is denied", \
        "report it with the audit index"
    # Workflow state
    ATTESTATION_FORM = auto(), "an attestation's key, value, uses or life is not well formed", \
        "see the detail for the part"
    ATTESTATION_SESSION = auto(), "the session is over, or the signer may not attest in it", \
        "attest in a session that called you or that you opened"
    ATTESTATION_NOT_DECLARED = auto(), "the signer's registration does not list this attestation key", \
        "register it with the key, or a pattern of it"
    ATTESTATION_UNKNOWN = auto(), "no such attestation or grant stands", "check its id"
    APPROVAL_UNKNOWN = auto(), "no such request stands, or it is not yours to answer", "check its id"
    APPROVAL_CLOSED = auto(), "the request is over: approved, denied, cancelled, or past its time", \
        "let the caller call again"
    APPROVAL_MISMATCH = auto(), "the approval names other parameters than the call has", \
        "read the request again, then approve it"
    APPROVER_NOT_AUTHORIZED = auto(), "the approver meets none of the criteria, or may not approve", \
        "let another approver answer"
    APPROVER_IS_REQUESTER = auto(), "a person cannot approve a call in their own name", "let another approver answer"
    APPROVER_LIMITED = auto(), "the request is outside the limits with which the approver is registered", \
        "let another approver answer, or let an administrator register it with wider limits"
    APPROVER_SAID_BY = auto(), "the approver may not pass on an answer in this name", \
        "let an administrator register it with a pattern in `speaks_for`; docs/approvals.md"
    APPROVER_LIMITS_FORM = auto(), "the limits of an approver are not well formed", "see the detail for the field"
    APPROVAL_SCOPE = auto(), "the approval is wider than, or otherwise than, the request lets this approver give", \
        "choose among the `scopes` of the request"
    APPROVER_DUPLICATE = auto(), "this person has approved already", "let another approver answer"
    DELEGATION_SELF = auto(), "delegator and delegate are one principal", "name another delegate"
    DELEGATION_CYCLE = auto(), "the delegate stands in the chain already", "name another delegate"
    DELEGATION_PARENT = auto(), "the delegation to be narrowed is not known, or was not granted to the signer", \
        "name one that was"
    DELEGATION_FORM = auto(), "the scope is malformed, or names neither resources nor operations", \
        "write the scope as docs/mapl.md says"
    DELEGATION_UNKNOWN = auto(), "no such delegation stands", "check its id"
    VAULT_FORM = auto(), "a scope, key, value, life or page of the vault is not well formed", \
        "see the detail for the part"
    VAULT_ABSENT = auto(), "the scope has no such key", "check the name, or write it first"
    VALUE_TOO_LARGE = auto(), "the value is larger than 64 KiB", \
        "store less under one key, or send a large value of your own scope with this version's client"
    VERSION_CONFLICT = auto(), "the key changed meanwhile", "read it again; the detail holds its version"
    UNKNOWN_SESSION = auto(), "no such session stands, or it was revoked already", "check its id"
    APPLICATION_EVENT = auto(), "a field of the application's event is not well formed", "see the detail for the field"
    QUERY_INVALID = auto(), "the question, or its argument, is not well formed", "see the detail for the form"
    # Results
    MALFORMED_RESULT = auto(), "a report's outcome or body is not well formed", "see the detail for the part"
    NOT_THE_TOOL = auto(), "the report is signed by another tool than the decision names", "report with that tool's key"
    LATE_RESULT = auto(), "the decision is not open: its outcome is final, or it never was", \
        "nothing is to be done: the outcome stands"
    NO_REPORT = auto(), "the tool host did not report in time: the call may or may not have run", \
        "look at the tool before you call again"
    # fmt: on
