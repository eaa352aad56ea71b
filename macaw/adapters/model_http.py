"""What decides beside the body who reads a request to a model, and as what: its address, a few headers. Pure.

A policy looks at what was read here. So a request is refused whose server, or whose body, another program might find in
another place: an address with `..`, a `Host` that is not the address's, a body in another encoding.
"""

from __future__ import annotations

import re
from typing import Any

from macaw.adapters.refusals import UngovernableRequestError

_PATH = re.compile(r"(?:/[A-Za-z0-9_~:@.-]+)+/?")
_QUERY_NAME = re.compile(r"[A-Za-z0-9_.\[\]-]{1,64}")
_BETA = re.compile(r"[a-z0-9._=-]{1,64}")
_QUERY_NAMES_MAX, _BETAS_MAX = 16, 32
_BETA_HEADERS = ("anthropic-beta", "openai-beta")
# By these, servers and proxies take another method, or another address, than the one of the request.
_REWRITING = (
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
    "x-forwarded-host",
    "forwarded",
)
_REDIRECTING = ("target", "sni_hostname")  # extensions of httpx: another address, or another server's name
_JSON = re.compile(r'application/json\s*(?:;\s*charset="?utf-8"?\s*)?', re.IGNORECASE)


def path_of(request: Any) -> str:
    """Return the path of a request, as it is sent.

    Raises:
        UngovernableRequestError: servers may find another address in the request.
    """
    raw = request.url.raw_path.partition(b"?")[0]
    path: str = raw.decode("ascii", "replace")
    if not _PATH.fullmatch(path) or any(part in {".", ".."} for part in path.split("/")):
        raise UngovernableRequestError("the path of the request has signs, or parts, that servers read in two ways")
    moved = [name for name in _REDIRECTING if name in request.extensions]
    if moved:
        raise UngovernableRequestError(f"the request goes to another place than its address says: leave out {moved[0]}")
    _check_host(request.headers, request.url.netloc.decode("ascii"))
    return path


def about(request: Any) -> dict[str, Any]:
    """Return the parameters that tell where a request goes: no value of a header or a query that may be a key.

    Raises:
        UngovernableRequestError: the request may be read in another way than its body is read here.
    """
    told: dict[str, Any] = {"path": path_of(request), "host": request.url.netloc.decode("ascii")}
    _check_body_headers(request.headers)
    names = sorted({name for name, _ in request.url.params.multi_items()})
    if len(names) > _QUERY_NAMES_MAX or not all(_QUERY_NAME.fullmatch(name) for name in names):
        raise UngovernableRequestError("the query of the request has too many names, or one that is no plain word")
    if names:
        told["query"] = names
    betas = _betas(request.headers)
    if betas:
        told["betas"] = betas
    return told


def _check_host(headers: Any, host: str) -> None:
    if len(headers.get_list("host")) > 1 or headers.get("host", host).lower() not in _names_of(host):
        raise UngovernableRequestError("the header Host names another server than the address: leave it out")
    for name in _REWRITING:
        if name in headers:
            raise UngovernableRequestError(f"the header {name} gives the request another address: leave it out")


def _check_body_headers(headers: Any) -> None:
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UngovernableRequestError("the body of the request is encoded, and no text: leave out Content-Encoding")
    if len(headers.get_list("content-type")) > 1 or not _JSON.fullmatch(headers.get("content-type", "").strip()):
        raise UngovernableRequestError("the body of the request is not sent as JSON in UTF-8: see Content-Type")


def _names_of(host: str) -> set[str]:
    return {host.lower(), f"{host.lower()}:443", f"{host.lower()}:80"}


def _betas(headers: Any) -> list[str]:
    """Return the names of a provider's features that headers switch on, sorted."""
    found = set[str]()
    for name in _BETA_HEADERS:
        for value in headers.get_list(name):
            found |= {one.strip() for one in value.split(",") if one.strip()}
    if len(found) > _BETAS_MAX or not all(_BETA.fullmatch(one) for one in found):
        raise UngovernableRequestError("a header that switches features on has a name in it that is no plain word")
    return sorted(found)


def check_answer(request: Any, response: Any) -> None:
    """Raise UngovernableRequestError if a server sends the request on to another one: keys would go there, too.

    Raises it as well where a body is compressed although this was not asked for: its size is not bounded.
    """
    if response.is_redirect and "location" in response.headers:
        to = request.url.join(response.headers["location"])
        if (to.scheme, to.netloc) != (request.url.scheme, request.url.netloc):
            raise UngovernableRequestError("the server sends the request on to another server: it was not followed")
    if response.headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
        raise UngovernableRequestError("the server compresses its answer, which was not asked for: it was not read")
