"""What the sidebar asks ComfyUI's server: which models there are, and to fetch one of the catalogue's.

A request names a model or a bundle and nothing else: addresses and folders are the server's own. It must be JSON, which
a page of another site cannot send without the server's leave.
"""

import asyncio
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from ..diffuseit.errors import InputError
from ..diffuseit.models.hub.catalog import (
    Entry,
    bundles,
    catalog,
    format_size,
    local_names,
    members,
    missing_tokenizer_files,
)
from ..diffuseit.models.hub.http import OnProgress
from . import runtime
from .fetcher import Fetcher, Job

EVENT = "diffuseit.download"
"""The websocket event that tells of a `Job`."""


def register(server) -> None:
    """Adds the routes to ComfyUI's `PromptServer`."""
    fetcher = Fetcher(_fetch, lambda job: server.send_sync(EVENT, _described(job)))
    routes = server.routes

    @routes.get("/diffuseit/models")
    async def models(request: web.Request) -> web.Response:
        return web.json_response(await asyncio.to_thread(listing, fetcher.jobs()))

    @routes.post("/diffuseit/downloads")
    async def start(request: web.Request) -> web.Response:
        try:
            entries = await asyncio.to_thread(wanted, await _name(request))
        except InputError as error:
            return _refusal(404, str(error))
        jobs = [fetcher.start(entry) for entry in entries]
        return web.json_response({"jobs": [_described(job) for job in jobs]}, status=202)

    @routes.delete("/diffuseit/downloads/{name}")
    async def stop(request: web.Request) -> web.Response:
        fetcher.stop(request.match_info["name"])
        return web.Response(status=204)


def listing(jobs: dict[str, Job]) -> dict:
    """All that the panel shows of the catalogue and of this machine."""
    return {
        "folder": runtime.download_folder(),
        "models": [_model(entry, jobs.get(entry.name)) for entry in catalog().values()],
        "bundles": [
            {"name": bundle.name, "purpose": bundle.purpose, "members": bundle.members}
            for bundle in bundles().values()
        ],
    }


def _model(entry: Entry, job: Job | None) -> dict:
    there = local_file(entry)
    return {
        "name": entry.name,
        "kind": entry.kind,
        "purpose": entry.purpose,
        "terms": entry.terms,
        "limits": entry.limits,
        "bytes": entry.size,
        "size": format_size(entry.size),
        "host": urlsplit(entry.address).hostname if entry.address else None,
        "manual": entry.manual,
        "present": there is not None,
        "file": there or entry.file,
        "job": _described(job) if job else None,
    }


def local_file(entry: Entry) -> str | None:
    """The name by which the loaders list a checkpoint; None if it, or a part of it, is nowhere."""
    for name in runtime.model_files():
        folder = Path(runtime.model_path(name)).parent
        if Path(name).name in local_names(entry) and not missing_tokenizer_files(entry, folder):
            return name
    return None


def wanted(name: str) -> list[Entry]:
    """What a download of the model or bundle `name` has to fetch. Raises `InputError` where that is nothing."""
    entries = members(name)
    if served := [entry for entry in entries if not entry.manual and local_file(entry) is None]:
        return served
    by_hand = next((entry for entry in entries if entry.manual and local_file(entry) is None), None)
    raise InputError(f"{by_hand.name}: {by_hand.manual}" if by_hand else f"{name} is here already")


def _fetch(entry: Entry, on_progress: OnProgress) -> None:
    from ..diffuseit.models.hub.download import download_entry

    download_entry(entry, runtime.download_folder(), on_progress)


async def _name(request: web.Request) -> str:
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="send JSON")
    try:
        body = await request.json()
    except ValueError as error:
        raise web.HTTPBadRequest(text="this is no JSON") from error
    if not isinstance(body, dict) or set(body) != {"name"} or not isinstance(body["name"], str):
        raise web.HTTPBadRequest(text='send {"name": a model or bundle of the catalogue}, and nothing else')
    return body["name"]


def _refusal(status: int, text: str) -> web.Response:
    return web.json_response({"error": text}, status=status)


def _described(job: Job) -> dict:
    return asdict(job)
