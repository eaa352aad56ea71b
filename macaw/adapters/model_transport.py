"""The HTTP transport of a model's client: each request is a governed call, and stays one until its answer has ended.

It stands below the SDK and above the SDK's own HTTP client, so nothing of the SDK goes around it that is sent over
HTTP: streams, helpers, raw responses, retries. The SDK gets the bytes of the provider, and makes its own types of them.
An answer that is not a stream is read whole, and given out once the log has its outcome. A stream passes as it comes;
its last bytes wait for the log.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from macaw.adapters.gate import Gate, GatePatience
from macaw.adapters.model_http import about, check_answer, path_of
from macaw.adapters.model_passage import AnswerBound, Passage
from macaw.adapters.model_requests import (
    CONTENT_PATHS,
    Contents,
    ModelEndpoint,
    ModelRequest,
    endpoint_of,
    read_request,
)
from macaw.adapters.refusals import UngovernableRequestError

T = TypeVar("T")

ANSWER_SECONDS_MAX = 550.0  # less than the gate gives a function by default
LOOP_BYTES_MAX = 256 * 1024  # that are read in an event loop, which stands still meanwhile
_MARK = "macaw_governed"
_PLAIN = {"Accept-Encoding": "identity"}  # a compressed answer has no bound before it is read
# Of the frame around a body that is decoded here.
_FRAMING = ("content-encoding", "content-length", "transfer-encoding")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRules:
    """How the requests of one client are governed.

    With `contents` as "digest" the log gets digests of texts, and no text. `provider_tools` may be run by the provider.
    `ungoverned` are further requests that pass, undecided and not on the log, each as `GET /v1/models`.
    """

    app: str
    endpoints: Sequence[ModelEndpoint]
    contents: Contents = "logged"
    provider_tools: frozenset[str] = frozenset()
    ungoverned: frozenset[str] = frozenset()
    patience: GatePatience | None = None
    seconds: float = ANSWER_SECONDS_MAX

    def read(self, request: Any) -> ModelRequest | None:
        """Return the call of a request with its body, None for one that passes undecided.

        Raises:
            UngovernableRequestError: it is no call that can be decided.
        """
        method, path = request.method, path_of(request)
        endpoint = endpoint_of(method, path, self.endpoints)
        if endpoint is None:
            if f"{method} {path}" in self.ungoverned:
                return None
            raise UngovernableRequestError(
                f"{method} {path} is no call of a model that is governed: name it in ungoverned, or use another client"
            )
        return read_request(
            endpoint,
            request.content,
            about=about(request),
            provider_tools=self.provider_tools,
            contents=self.contents,
        )


def governed_copy(gate: Gate, sdk: Any, rules: ModelRules) -> Any:
    """Return a copy of an SDK's client that sends through the gate, by the HTTP client that it has."""
    # With the user's proxies, certificates and time-outs; neither SDK has a public name for it.
    return sdk.copy(http_client=governed_http(gate, sdk._client, rules))  # noqa: SLF001


def governed_http(gate: Gate, inner: Any, rules: ModelRules) -> Any:
    """Return an HTTP client of the kind of `inner`, httpx or httpx2, sync or async, that sends through it.

    Closing it closes `inner`.
    """
    library = _library_of(inner)
    # The headers and parameters of `inner` are added to a request before it is decided, and are seen there.
    settings = {"headers": inner.headers, "params": inner.params, "cookies": inner.cookies, "timeout": inner.timeout}
    settings |= {"trust_env": False, "follow_redirects": inner.follow_redirects}
    transport: Any
    if isinstance(inner, library.AsyncClient):
        kind, transport = library.AsyncClient, _AsyncTransport(library, gate, inner, rules)
    else:
        kind, transport = library.Client, _SyncTransport(library, gate, inner, rules)
    return type("GovernedClient", (kind,), {_MARK: True})(transport=transport, **settings)


def check_governed(client: Any) -> None:
    """Raise UngovernableRequestError unless a client of an SDK sends through a gate."""
    if not getattr(getattr(client, "_client", None), _MARK, False):
        raise UngovernableRequestError(
            f"this {type(client).__name__} sends past the gate: give it to governed_openai or governed_anthropic first"
        )


def _library_of(inner: Any) -> Any:
    for cls in type(inner).__mro__:
        name = cls.__module__.partition(".")[0]
        if name in {"httpx", "httpx2"}:
            return importlib.import_module(name)
    raise UngovernableRequestError(f"{type(inner).__name__} is no HTTP client of httpx or httpx2")


def _is_stream(response: Any) -> bool:
    kind: str = response.headers.get("content-type", "")
    return 200 <= response.status_code < 300 and kind.startswith("text/event-stream")


def _headers(response: Any) -> Any:
    headers = response.headers.copy()
    for name in _FRAMING:
        headers.pop(name, None)
    return headers


def _holding(asked: ModelRequest, rules: ModelRules) -> dict[str, Any]:
    return {
        "resource": f"tool:{rules.app}/{asked.endpoint.operation}",
        "parameters": asked.parameters,
        "patience": rules.patience,
        "bodies": CONTENT_PATHS,
    }


def _whole_response(library: Any, response: Any, body: bytes) -> Any:
    return library.Response(response.status_code, headers=_headers(response), content=body)


class _SyncPassing:
    """The bytes of a stream, while its call is open. Afterwards `holding` is None."""

    def __init__(self, response: Any, passage: Passage, holding: Any) -> None:
        self._response, self._passage, self._holding = response, passage, holding

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self._response.iter_bytes():
                if self._passage.is_whole_after(chunk):
                    self._end()
                    yield chunk
                    return  # bytes after the end would not be in the report
                yield chunk
            self._end()
        except BaseException as exc:
            self._leave(exc)
            raise

    def _end(self) -> None:
        self._passage.end_stream()
        holding, self._holding = self._holding, None
        holding.__exit__(None, None, None)

    def _leave(self, exc: BaseException) -> None:
        holding, self._holding = self._holding, None
        if holding is not None:
            left = self._passage.end_of(exc)
            holding.__exit__(type(left), left, left.__traceback__)

    def close(self) -> None:
        self._leave(GeneratorExit())
        self._response.close()


def _whole(response: Any, count: Callable[[bytes], None]) -> bytes:
    chunks = []
    try:
        for chunk in response.iter_bytes():
            count(chunk)
            chunks.append(chunk)
    finally:
        response.close()
    return b"".join(chunks)


class _SyncTransport:
    """Asks the log before each request."""

    def __init__(self, library: Any, gate: Gate, inner: Any, rules: ModelRules) -> None:
        self._library, self._gate, self._inner, self._rules = library, gate, inner, rules
        # The SDK's HTTP client wants a stream of its library's class.
        self._passing: Any = type("Passing", (_SyncPassing, library.SyncByteStream), {})

    def handle_request(self, request: Any) -> Any:
        request.read()
        asked = self._rules.read(request)
        if asked is None:
            response = self._send(request)
            return _whole_response(self._library, response, _whole(response, AnswerBound(self._rules.seconds).count))
        holding = self._gate.held(**_holding(asked, self._rules))
        passage = Passage(asked, self._rules.contents, self._rules.seconds, holding.__enter__(), self._library)
        try:
            response = self._send(request)
            if _is_stream(response):
                stream = self._passing(response, passage, holding)
                return self._library.Response(response.status_code, headers=_headers(response), stream=stream)
            body = _whole(response, passage.count)
            passage.end_body(response.status_code, body)
        except BaseException as exc:
            told = passage.end_of(exc)
            holding.__exit__(type(told), told, told.__traceback__)
            raise
        holding.__exit__(None, None, None)
        return _whole_response(self._library, response, body)

    def _send(self, request: Any) -> Any:
        request.headers.update(_PLAIN)
        response = self._inner.send(request, stream=True, follow_redirects=False)
        try:
            check_answer(request, response)
        except UngovernableRequestError:
            response.close()
            raise
        return response

    def close(self) -> None:
        self._inner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _AsyncPassing:
    """The bytes of a stream, while its call is open. Afterwards `holding` is None."""

    def __init__(self, response: Any, passage: Passage, holding: Any) -> None:
        self._response, self._passage, self._holding = response, passage, holding

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._response.aiter_bytes():
                if self._passage.is_whole_after(chunk):
                    await self._end()
                    yield chunk
                    return  # bytes after the end would not be in the report
                yield chunk
            await self._end()
        except BaseException as exc:
            await self._leave(exc)
            raise

    async def _end(self) -> None:
        self._passage.end_stream()
        holding, self._holding = self._holding, None
        await holding.__aexit__(None, None, None)

    async def _leave(self, exc: BaseException) -> None:
        holding, self._holding = self._holding, None
        if holding is not None:
            left = self._passage.end_of(exc)
            await holding.__aexit__(type(left), left, left.__traceback__)

    async def aclose(self) -> None:
        await self._leave(GeneratorExit())
        await self._response.aclose()


async def _off_loop(size: int, function: Callable[..., T], *args: Any) -> T:
    """Call a function, in another thread where its bytes are many: to read 64 MiB takes seconds."""
    return await asyncio.to_thread(function, *args) if size > LOOP_BYTES_MAX else function(*args)


async def _whole_async(response: Any, count: Callable[[bytes], None]) -> bytes:
    chunks = []
    try:
        async for chunk in response.aiter_bytes():
            count(chunk)
            chunks.append(chunk)
    finally:
        await response.aclose()
    return b"".join(chunks)


class _AsyncTransport:
    """Asks the log before each request."""

    def __init__(self, library: Any, gate: Gate, inner: Any, rules: ModelRules) -> None:
        self._library, self._gate, self._inner, self._rules = library, gate, inner, rules
        # The SDK's HTTP client wants a stream of its library's class.
        self._passing: Any = type("Passing", (_AsyncPassing, library.AsyncByteStream), {})

    async def handle_async_request(self, request: Any) -> Any:
        await request.aread()
        asked = await _off_loop(len(request.content), self._rules.read, request)
        if asked is None:
            response = await self._send(request)
            return _whole_response(
                self._library, response, await _whole_async(response, AnswerBound(self._rules.seconds).count)
            )
        holding = self._gate.held_async(**_holding(asked, self._rules))
        passage = Passage(asked, self._rules.contents, self._rules.seconds, await holding.__aenter__(), self._library)
        try:
            response = await self._send(request)
            if _is_stream(response):
                stream = self._passing(response, passage, holding)
                return self._library.Response(response.status_code, headers=_headers(response), stream=stream)
            body = await _whole_async(response, passage.count)
            await _off_loop(len(body), passage.end_body, response.status_code, body)
        except BaseException as exc:
            told = passage.end_of(exc)
            await holding.__aexit__(type(told), told, told.__traceback__)
            raise
        await holding.__aexit__(None, None, None)
        return _whole_response(self._library, response, body)

    async def _send(self, request: Any) -> Any:
        request.headers.update(_PLAIN)
        response = await self._inner.send(request, stream=True, follow_redirects=False)
        try:
            check_answer(request, response)
        except UngovernableRequestError:
            await response.aclose()
            raise
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
