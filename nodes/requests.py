"""Checks of all requests to the pack's routes: who may send them, how large they may be, how many run at once."""

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

from aiohttp import web

from ..diffuseit.errors import InputError
from ..diffuseit.schema import LARGEST_JSON, parse

MOST_WAITING = 32
"""How many requests may wait for a thread: more than a large graph has samplers, which all ask at once."""

FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host")
"""Headers that a proxy adds to a request."""

Result = TypeVar("Result")


def refusal(status: int, text: str) -> web.Response:
    """Return the response to a request that is refused, with a text for the page."""
    return web.json_response({"error": text}, status=status)


async def json_body(request: web.Request) -> Any:
    """Return the JSON value that a page of this server sent.

    Raise `web.HTTPException` for a page of another site, or a body that is compressed, too large, or not JSON.
    """
    check_origin(request)
    if request.content_type != "application/json" or (request.charset or "utf-8").lower() != "utf-8":
        raise web.HTTPUnsupportedMediaType(text="send application/json in UTF-8")
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise web.HTTPUnsupportedMediaType(text="send JSON that is not compressed")
    body = bytearray()
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > LARGEST_JSON:
            raise web.HTTPRequestEntityTooLarge(LARGEST_JSON, len(body))
    try:
        return parse(bytes(body), "the request")
    except InputError as error:
        raise web.HTTPBadRequest(text=str(error)) from error


def check_origin(request: web.Request) -> None:
    """Raise `web.HTTPForbidden` if a page of another site sent the request.

    The rules are those of ComfyUI's middleware, which is off under --enable-cors-header. In addition, a browser on this
    machine must call the server by one of the machine's own names, since a site may point its name at this machine's
    address (DNS rebinding). Behind a proxy the name is the proxy's, and this rule does not apply.
    """
    headers = request.headers
    if headers.get("Sec-Fetch-Site") == "cross-site":
        raise web.HTTPForbidden(text="this came from a page of another site")
    if "Host" not in headers:
        return  # no browser
    host, port = _place(f"//{headers['Host']}")
    if _is_loopback(host):
        if "Origin" in headers and not _is_same((host, port), _place(headers["Origin"])):
            raise web.HTTPForbidden(text="this came from a page of another site")
    elif (
        _is_loopback(request.remote or "")
        and not _is_own_name(host)
        and not any(name in headers for name in FORWARDED)
    ):
        raise web.HTTPForbidden(text="open ComfyUI as localhost or by an IP address")


def _place(address: str) -> tuple[str, int | None]:
    """Return the host and the port of an address; an empty host if it is not valid."""
    try:
        parts = urlsplit(address.lower())
        return parts.hostname or "", parts.port
    except ValueError:
        return "", None


def _is_same(one: tuple[str, int | None], other: tuple[str, int | None]) -> bool:
    """Return whether both are the same place. Ports are compared if both have one."""
    return one[0] == other[0] and (None in (one[1], other[1]) or one[1] == other[1])


def _is_loopback(host: str) -> bool:
    """Return whether `host` is a loopback name or address. Names are not resolved: their owners control the result."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def _is_own_name(host: str) -> bool:
    own = socket.gethostname().lower()
    return host in (own, own.partition(".")[0], f"{own}.local") or _address(host) is not None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


class Worker:
    """Runs functions in a thread beside the event loop, one at a time."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._waiting = 0

    async def run(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """Return `work(*arguments)`. Raise `web.HTTPTooManyRequests` if too many calls wait already."""
        if self._waiting >= MOST_WAITING:
            raise web.HTTPTooManyRequests(
                text="too many requests at once: try again", headers={"Retry-After": "1"}
            )
        self._waiting += 1
        try:
            async with self._lock:
                return await asyncio.to_thread(work, *arguments)
        finally:
            self._waiting -= 1
