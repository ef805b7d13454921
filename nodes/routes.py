"""Routes on ComfyUI's server for the pack's pages: the list of models, downloads, pocket files, estimates of a run,
and the nodes behind DiffuseIT Translate.

A request for a download names a model or a bundle of the catalog and nothing else. The server has the addresses and
chooses the folder. A request for the pocket files names nothing.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from ..diffuseit.errors import DiffuseITError, InputError
from ..diffuseit.models.hub.catalog import (
    Entry,
    bundles,
    catalog,
    format_size,
    members,
)
from ..diffuseit.models.hub.http import OnProgress
from ..diffuseit.pocket.files import FILES, copy_files
from . import node_classes
from .comfy.devices import device_name
from .comfy.folders import download_folder, find, folder_for, model_paths
from .estimate import answer
from .expand import expanded
from .fetcher import Fetcher, Job
from .live import latest
from .measurements import measured
from .model_sets import local_file
from .requests import Worker, check_origin, json_body, refusal

EVENT = "diffuseit.download"
"""The websocket event that carries a `Job`."""

LONGEST_NAME = 200


def register(server: Any) -> None:
    """Add the routes to ComfyUI's `PromptServer`."""
    fetcher = Fetcher(_fetch, lambda job: server.send_sync(EVENT, asdict(job)))
    worker = Worker()
    nodes = {node.define_schema().node_id: node for node in node_classes()}
    routes = server.routes

    @routes.get("/diffuseit/models")
    async def models(request: web.Request) -> web.Response:
        return web.json_response(await worker.run(listing, fetcher.jobs()))

    @routes.post("/diffuseit/downloads")
    async def start(request: web.Request) -> web.Response:
        name = _name(await json_body(request))
        if name is None:
            return refusal(400, 'send {"name": a model or bundle of the catalog}, and nothing else')
        try:
            entries = await worker.run(wanted, name)
        except InputError as error:
            return refusal(404, str(error))
        jobs = [fetcher.start(entry) for entry in entries]
        return web.json_response({"jobs": [asdict(job) for job in jobs]}, status=202)

    @routes.delete("/diffuseit/downloads/{name}")
    async def stop(request: web.Request) -> web.Response:
        check_origin(request)
        fetcher.stop(request.match_info["name"])
        return web.Response(status=204)

    @routes.post("/diffuseit/pocket-files")
    async def put_pocket_files(request: web.Request) -> web.Response:
        if await json_body(request) != {}:
            return refusal(400, "send {}, and nothing else")
        try:
            paths = await worker.run(copy_pocket_files)
        except DiffuseITError as error:
            return refusal(409, str(error))
        return web.json_response({"files": [str(path) for path in paths]})

    @routes.get("/diffuseit/run")
    async def run(request: web.Request) -> web.Response:
        check_origin(request)
        return web.json_response({"events": latest(request.query.get("client", ""))})

    @routes.post("/diffuseit/estimate")
    async def estimate(request: web.Request) -> web.Response:
        asked = await json_body(request)
        try:
            return web.json_response(await worker.run(answer, asked, nodes, measured(), device_name()))
        except InputError as error:
            return refusal(400, str(error))

    @routes.post("/diffuseit/expand")
    async def expand(request: web.Request) -> web.Response:
        asked = await json_body(request)
        try:
            return web.json_response(await worker.run(expanded, asked, nodes))
        except InputError as error:
            return refusal(400, str(error))


def _name(asked: Any) -> str | None:
    name = asked["name"] if isinstance(asked, dict) and set(asked) == {"name"} else None
    return name if isinstance(name, str) and len(name) <= LONGEST_NAME else None


def listing(jobs: dict[str, Job]) -> dict[str, Any]:
    """Return what the panel shows about the catalog and this machine."""
    files = model_paths()
    return {
        "folder": str(download_folder()),
        "pocket": {"files": [file.name for file in FILES], "present": has_pocket_files()},
        "models": [_model(entry, files, jobs.get(entry.name)) for entry in catalog().values()],
        "bundles": [
            {"name": bundle.name, "purpose": bundle.purpose, "members": bundle.members}
            for bundle in bundles().values()
        ],
    }


def has_pocket_files() -> bool:
    """Return whether ComfyUI's own loaders find the latent pocket models."""
    found = [(file, find(file.folder, file.name)) for file in FILES]
    return all(path is not None and file.is_at(path) for file, path in found)


def copy_pocket_files() -> list[Path]:
    """Copy the latent pocket models to where ComfyUI's own loaders look. Raise `ModelError` if they cannot be."""
    return copy_files({file.folder: folder_for(file.folder) for file in FILES})


def _model(entry: Entry, files: dict[str, Path], job: Job | None) -> dict[str, Any]:
    there = local_file(entry, files)
    return {
        "name": entry.name,
        "kind": entry.kind,
        "purpose": entry.purpose,
        "terms": entry.terms,
        "limits": entry.limits,
        "bytes": entry.size,
        "size": format_size(entry.size),
        "host": urlsplit(entry.address).hostname if entry.address else None,
        "url": entry.address,
        "manual": entry.manual,
        "present": there is not None,
        "file": there or entry.file,
        "job": asdict(job) if job else None,
    }


def wanted(name: str) -> list[Entry]:
    """Return the checkpoints to download for the model or bundle `name`. Raise `InputError` if there are none."""
    files = model_paths()
    missing = [entry for entry in members(name) if local_file(entry, files) is None]
    if served := [entry for entry in missing if not entry.manual]:
        return served
    raise InputError(f"{missing[0].name}: {missing[0].manual}" if missing else f"{name} is here already")


def _fetch(entry: Entry, on_progress: OnProgress) -> None:
    from ..diffuseit.models.hub.download import download_entry

    download_entry(entry, download_folder(), on_progress)
