"""What all requests to the pack's routes go through: who may send them, how large they are, how many run at once."""

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

from aiohttp import web

from ..diffuseit.errors import InputError
from ..diffuseit.schema import LARGEST_JSON, parse

MOST_WAITING = 32
"""Requests that wait for a thread: more than the samplers of a large graph, which all ask at once."""

FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host")
"""Headers of a proxy, which tells of the request that it passes on."""

Result = TypeVar("Result")


def refusal(status: int, text: str) -> web.Response:
    """Return the answer to a request that is refused, in words for the page."""
    return web.json_response({"error": text}, status=status)


async def json_body(request: web.Request) -> Any:
    """Return the JSON value that a page of this server sent.

    Raise `web.HTTPException` for a page of another site, and for a body that is compressed, too large or not JSON.
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
    """Raise `web.HTTPForbidden` for what a page of another site sends.

    The rules are those of ComfyUI's own middleware, which is off under --enable-cors-header. Beyond it, a browser on
    this machine must call the server by a name that is the machine's own: a site may give its own name this machine's
    address (DNS rebinding). Behind a proxy the name is the proxy's, and the rule does not apply.
    """
    headers = request.headers
    host = _split(f"//{headers.get('Host', '')}")
    if headers.get("Sec-Fetch-Site") == "cross-site":
        raise web.HTTPForbidden(text="this came from a page of another site")
    if _is_loopback(host.hostname):
        if "Origin" in headers and not _same_place(_split(headers["Origin"]), host):
            raise web.HTTPForbidden(text="this came from a page of another site")
    elif (
        _is_loopback(request.remote)
        and not _is_own_name(host.hostname)
        and not any(name in headers for name in FORWARDED)
    ):
        raise web.HTTPForbidden(text="open ComfyUI as localhost or by an IP address")


def _split(address: str) -> SplitResult:
    """The parts of an address; empty ones if it is none."""
    try:
        parts = urlsplit(address.lower())
        _ = parts.port  # which raises for a port that is no number
        return parts
    except ValueError:
        return SplitResult("", "", "", "", "")


def _same_place(origin: SplitResult, host: SplitResult) -> bool:
    """Whether both are one host; the port counts if both name one."""
    if origin.hostname is None or origin.hostname != host.hostname:
        return False
    return origin.port is None or host.port is None or origin.port == host.port


def _is_loopback(host: str | None) -> bool:
    """Whether `host` names this machine for itself. Names are not looked up: their owner decides on the answer."""
    if host is None:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def _is_own_name(host: str | None) -> bool:
    own = socket.gethostname().lower()
    return host is None or host in (own, own.partition(".")[0], f"{own}.local") or _address(host) is not None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


class Worker:
    """Runs work in a thread beside the event loop, one call at a time."""

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
