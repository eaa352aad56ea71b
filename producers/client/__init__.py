"""The client of an agent, service or person: `Client`, `AsyncClient` for asyncio, and the errors that they raise."""

from producers.client.approvals import (
    Answered,
    CallForgedError,
    CallOverError,
    ParametersChangedError,
    ScopeError,
    ShownCall,
)
from producers.client.async_client import AsyncBoundClient, AsyncClient
from producers.client.author_proof import VaultForgedError
from producers.client.beside import BodyPathError, NoReceiverError
from producers.client.bound import Binding, BoundClient, NotBindableError, UnboundError
from producers.client.calls import Asking
from producers.client.client import Client
from producers.client.inputs import MalformedIdError, MalformedTimeError
from producers.client.kept_calls import WaitingCallError
from producers.client.open_call import ANSWER_SECONDS, OpenCall, Waiting
from producers.client.prompts import AuthenticatedPrompt, PromptMismatchError
from producers.client.streaming import ResultStream, StreamBrokenError
from producers.client.vault import ValueTooLargeError, VaultEntry
from producers.home.heads import HeadsError, LogRollbackError, VaultRollbackError
from producers.home.process import ForkedError
from producers.kafka.appending import PublishError
from producers.kafka.connection import ConnectError
from producers.kafka.consuming import LogSetBackError
from producers.kafka.followed_topic import RegistryError
from producers.kafka.logins import NoBridgeError, NotATokenError, SessionRefusedError
from producers.kafka.outcomes import (
    AlreadyCalledError,
    CallError,
    DeniedError,
    FailedError,
    MalformedReplyError,
    NoAnswerError,
    RefusedError,
    ResultMissingError,
    ResultWithheldError,
    UnknownOutcomeError,
    explain,
    result_of,
)
from producers.kafka.waiting import WaitingCall

__all__ = [
    "ANSWER_SECONDS",
    "AlreadyCalledError",
    "Answered",
    "Asking",
    "AsyncBoundClient",
    "AsyncClient",
    "AuthenticatedPrompt",
    "Binding",
    "BodyPathError",
    "BoundClient",
    "CallError",
    "CallForgedError",
    "CallOverError",
    "Client",
    "ConnectError",
    "DeniedError",
    "FailedError",
    "ForkedError",
    "HeadsError",
    "LogRollbackError",
    "LogSetBackError",
    "MalformedIdError",
    "MalformedReplyError",
    "MalformedTimeError",
    "NoAnswerError",
    "NoBridgeError",
    "NoReceiverError",
    "NotATokenError",
    "NotBindableError",
    "OpenCall",
    "ParametersChangedError",
    "PromptMismatchError",
    "PublishError",
    "RefusedError",
    "RegistryError",
    "ResultMissingError",
    "ResultStream",
    "ResultWithheldError",
    "ScopeError",
    "SessionRefusedError",
    "ShownCall",
    "StreamBrokenError",
    "UnboundError",
    "UnknownOutcomeError",
    "ValueTooLargeError",
    "VaultEntry",
    "VaultForgedError",
    "VaultRollbackError",
    "Waiting",
    "WaitingCall",
    "WaitingCallError",
    "explain",
    "result_of",
]
