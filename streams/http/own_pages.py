"""The check that no page of another origin asks (cross-site request forgery, RFC 6454, Fetch Metadata of the W3C)."""

from __future__ import annotations

from http import HTTPStatus

from starlette.datastructures import Headers

from streams.http.refusals import CLOSE, HTTPRefusal

READS = frozenset({"GET", "HEAD"})


def check_own_page(method: str, headers: Headers) -> None:
    """Check that no page of another origin asks. Requires one Host that is ours.

    Browsers send `Origin` with each request that may change something, and `Sec-Fetch-Site` with every request. A page
    of ours has the origin of the very host and port that were asked. A link that a person follows may lead to a page
    from anywhere; frames and scripts of other origins may not.

    Raises:
        HTTPRefusal: 403.
    """
    origins, sites = headers.getlist("origin"), headers.getlist("sec-fetch-site")
    own = [[f"{scheme}://{headers['host'].lower()}"] for scheme in ("http", "https")]
    if method in READS:
        is_ours = origins in ([], *own) and (sites in ([], ["same-origin"], ["none"]) or _is_a_link(headers))
    else:
        is_ours = origins in own and sites in ([], ["same-origin"])
    if not is_ours:
        raise HTTPRefusal(
            HTTPStatus.FORBIDDEN,
            "ORIGIN_REFUSED",
            "the request comes from a page of another origin",
            "open this server's own pages",
            headers=CLOSE,
        )


def _is_a_link(headers: Headers) -> bool:
    return headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
