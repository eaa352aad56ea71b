"""A client of the views' query API, with the standard library only.

An answer is whole or an error: a view that is not ready is waited for, and a failure never looks like an empty list.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import IO, cast

from producers.home.addresses import is_loopback_host
from schemas.errors import UnavailableError

TIMEOUT_SECONDS = 10.0
READY_SECONDS = 60.0
RETRY_SECONDS = 0.25
PAGE_ROWS = 250  # a page of them stays below PAGE_BYTES_MAX
PAGE_BYTES_MAX = 4 * 1024 * 1024
PAGES_MAX = 800

JSONObject = dict[str, object]


class ViewsError(UnavailableError):
    """The views gave no usable answer; the message names the next step."""


class ViewsNotReadyError(ViewsError):
    """The views answer, and do not know their rows yet."""


def fetch_sessions(
    base_url: str,
    tenant: str,
    token: str,
    *,
    status: str | None = None,
    principal: str | None = None,
    issuer: str | None = None,
    ready_seconds: float = READY_SECONDS,
) -> list[JSONObject]:
    """Return the sessions of a tenant; `status` is open or ended. Waits and raises as `fetch_rows`."""
    named = {"status": status, "principal": principal, "issuer": issuer}
    given = {name: value for name, value in named.items() if value is not None}
    return fetch_rows(base_url, tenant, token, "sessions", given, ready_seconds=ready_seconds)


def fetch_rows(
    base_url: str,
    tenant: str,
    token: str,
    what: str,
    parameters: Mapping[str, str] | None = None,
    *,
    ready_seconds: float = READY_SECONDS,
) -> list[JSONObject]:
    """Return all rows of a list of a tenant, as the query API describes them; `what` is the last part of its path.

    Views that have just started are waited for, up to `ready_seconds`.

    Raises:
        ViewsNotReadyError: they were not ready in time.
        ViewsError: they cannot be reached, refuse the token or a parameter, or give an answer of another form.
    """
    check_address(base_url)
    until = time.monotonic() + ready_seconds
    found: list[JSONObject] = []
    after: str | None = ""
    for _ in range(PAGES_MAX):
        given = {"limit": str(PAGE_ROWS), **(parameters or {}), **({"after": after} if after else {})}
        page = _ready_page(_address(base_url, tenant, what, given), token, until)
        rows, after = _rows_of(page, tenant, what)
        found += rows
        if after is None:
            return found
    raise ViewsError(f"the views have more than {len(found)} rows of {what} of {tenant!r}: ask for fewer")


def check_address(base_url: str) -> None:
    """Check that a token may be sent there. Raises ViewsError for no address, and for plain HTTP to another machine."""
    parts = urllib.parse.urlsplit(base_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ViewsError(f"{base_url[:80]!r} is not an address of the views: give one like http://127.0.0.1:PORT")
    if parts.scheme == "http" and not is_loopback_host(parts.hostname):
        raise ViewsError(f"a token is not sent in the clear to {parts.hostname}: use https, or a tunnel")


def _address(base_url: str, tenant: str, what: str, parameters: Mapping[str, str]) -> str:
    query = urllib.parse.urlencode(parameters)
    return f"{base_url.rstrip('/')}/v1/tenants/{urllib.parse.quote(tenant, safe='')}/{what}?{query}"


def _ready_page(address: str, token: str, until: float) -> JSONObject:
    while True:
        try:
            return _page(address, token)
        except ViewsNotReadyError:
            if time.monotonic() > until:
                raise
        time.sleep(RETRY_SECONDS)


def _page(address: str, token: str) -> JSONObject:
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {token}"})  # noqa: S310 - checked
    try:
        with _OPENER.open(request, timeout=TIMEOUT_SECONDS) as response:
            return _read(response)
    except urllib.error.HTTPError as exc:
        with exc:
            raise _refusal(exc.code, exc) from exc
    except (OSError, ValueError, http.client.HTTPException) as exc:
        raise ViewsError(
            f"the views cannot be reached at {address.partition('/v1/')[0]}: {exc}; are they running?"
        ) from exc


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows nothing: the token is for this address only."""

    def redirect_request(self, *_: object) -> None:
        return None


# Without the proxies of the environment: an address on loopback means this machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())


def _read(response: IO[bytes]) -> JSONObject:
    body = response.read(PAGE_BYTES_MAX + 1)
    if len(body) > PAGE_BYTES_MAX:
        raise ViewsError(f"the views answer with more than {PAGE_BYTES_MAX} bytes: is this their address?")
    try:
        found = json.loads(body)
    except ValueError as exc:
        raise ViewsError("the answer of the views is not JSON: is this their address?") from exc
    if not isinstance(found, dict):
        raise ViewsError("the answer of the views is not an object: is this their address?")
    return found


def _refusal(code: int, response: IO[bytes]) -> ViewsError:
    try:
        said = str(_read(response).get("error", ""))[:200]
    except ViewsError:
        said = ""
    match code:
        case 401:
            return ViewsError("the views refuse this token: use the one in views.token of the tenant's folder")
        case 503:
            return ViewsNotReadyError(said or "the views are not ready; ask again in a moment")
        case _:
            return ViewsError(f"the views answer {code}: {said or 'no reason given'}")


def _rows_of(page: JSONObject, tenant: str, what: str) -> tuple[list[JSONObject], str | None]:
    rows, after = page.get(what), page.get("next")
    shaped = isinstance(rows, list) and all(isinstance(row, dict) for row in rows)
    if not shaped or page.get("tenant") != tenant or page.get("ready") is not True:
        raise ViewsError(f"the answer of the views is not a page of {what}: is this their address?")
    if after is not None and not isinstance(after, str):
        raise ViewsError("the answer of the views has a malformed `next`: is this their address?")
    return cast(list[JSONObject], rows), after
