"""A real ComfyUI server with only this pack, and the few calls of its HTTP and websocket interface we need."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import numpy as np
import websocket
from PIL import Image

PACK = Path(__file__).resolve().parents[2]
PACK_FOLDER = "pack of any-name v1.2"  # ComfyUI imports folders of any name
START_SECONDS = 300
PREVIEW_IMAGE = 1  # the kind of a binary websocket message, its first four bytes


def comfyui_path() -> Path | None:
    """The ComfyUI to test with: `COMFYUI_PATH`, or comfy-cli's default place; None where there is none."""
    path = Path(os.environ.get("COMFYUI_PATH", Path.home() / "comfy" / "ComfyUI")).expanduser().resolve()
    return path if (path / "main.py").is_file() else None


def comfyui_python(comfyui: Path) -> str:
    """The Python to run it with: `COMFYUI_PYTHON`, its own virtual environment, or the one of the tests."""
    own = [comfyui / name / "bin" / "python" for name in (".venv", "venv")]
    found = next((str(path) for path in own if path.exists()), sys.executable)
    return os.environ.get("COMFYUI_PYTHON", found)


def front_end_options() -> list[str]:
    """`COMFYUI_FRONT_END`: the folder of another front end (static/ of comfyui-frontend-package) to test with."""
    folder = os.environ.get("COMFYUI_FRONT_END")
    return ["--front-end-root", str(Path(folder).expanduser().resolve())] if folder else []


_MISSING = """
import importlib.metadata as metadata, re, sys
for line in open(sys.argv[1]):
    if name := re.match(r"[A-Za-z0-9._-]+", line):
        try:
            metadata.version(name[0])
        except metadata.PackageNotFoundError:
            print(name[0])
"""


def missing_requirements(comfyui: Path) -> list[str]:
    """The packages of ComfyUI's own requirements.txt that the Python to run it with does not have."""
    command = [comfyui_python(comfyui), "-c", _MISSING, str(comfyui / "requirements.txt")]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


_FLAGS = """
from aiohttp import web
from server import PromptServer

@PromptServer.instance.routes.get("/tests/flags")
async def flags(request):
    return web.json_response(PromptServer.instance.prompt_queue.get_flags(reset=False))

NODE_CLASS_MAPPINGS = {}
"""
"""A node pack that tells what the server's worker was asked to do and has not noticed yet."""


Prompt = dict[str, tuple[str, dict[str, Any]]]
"""Nodes by their id: (class, inputs). A link is [id, number of the output]."""


class PromptError(Exception):
    """The server refused a prompt, or a node failed; `node_errors` by node id."""

    def __init__(self, text: str, node_errors: dict[str, Any]):
        super().__init__(text)
        self.node_errors = node_errors


@dataclass
class Outcome:
    """What happened to one prompt, as its websocket events told."""

    id: str
    executed: list[str] = field(default_factory=list)  # nodes that ran, in order
    cached: list[str] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    progress: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    previews: list[Image.Image] = field(default_factory=list)
    error: dict[str, Any] | None = None
    interrupted: bool = False


class ComfyServer:
    """A server process on a free port, with a base directory of its own. Ends with the `with` block."""

    def __init__(self, comfyui: Path, base: Path, *options: str, folder: str = PACK_FOLDER):
        self.base = base
        self.port = _free_port()
        self.client = uuid.uuid4().hex
        (base / "custom_nodes").mkdir(parents=True, exist_ok=True)
        link = base / "custom_nodes" / folder
        if not link.exists():
            link.symlink_to(PACK, target_is_directory=True)
        (base / "custom_nodes" / "flags.py").write_text(_FLAGS)
        self.log_path = base / "server.log"
        self._comfyui = comfyui
        self._command = [
            comfyui_python(comfyui),
            "main.py",
            "--cpu",
            *("--port", str(self.port)),
            *("--base-directory", str(base)),
            *("--database-url", f"sqlite:///{base / 'comfyui.db'}"),
            "--disable-auto-launch",
            "--disable-api-nodes",
            *front_end_options(),
            *options,
        ]
        self.start()

    def start(self) -> None:
        """Starts the process, again after it ended; returns when it answers."""
        # One thread: the tests run beside others, and threads that wait in a loop slow everything down.
        quiet = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "PYTHONUNBUFFERED": "1"}
        with self.log_path.open("a") as log:
            self.process = subprocess.Popen(
                self._command, cwd=self._comfyui, stdout=log, stderr=subprocess.STDOUT, env=quiet | os.environ
            )
        try:
            self._wait_until_up()
            self.socket = websocket.create_connection(
                f"ws://127.0.0.1:{self.port}/ws?clientId={self.client}", timeout=300
            )
            self.nodes: dict[str, Any] = self.get("/object_info")
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> ComfyServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait_until_up(self) -> None:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError(f"ComfyUI ended at once:\n{self.log()[-3000:]}")
            try:
                self.get("/system_stats")
                return
            except OSError:
                time.sleep(0.3)
        raise RuntimeError(f"ComfyUI did not start:\n{self.log()[-3000:]}")

    def stop(self) -> None:
        """Ends the process."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def kill(self) -> None:
        """Ends the process as a crash does."""
        self.process.kill()
        self.process.wait()

    def log(self) -> str:
        """All that the server printed."""
        return self.log_path.read_text(errors="replace")

    def log_since(self, mark: int) -> str:
        """What it printed after `len(log())` was `mark`."""
        return self.log()[mark:]

    def free(self, **what: bool) -> None:
        """POST /free, and wait until the server's worker has noticed: it acts before it takes another prompt."""
        self.post("/free", what)
        end = time.monotonic() + START_SECONDS
        while self.get("/tests/flags"):
            assert time.monotonic() < end, "the server's worker does not notice"
            time.sleep(0.05)

    def get(self, path: str, **query: str) -> Any:
        """A JSON answer."""
        return json.loads(self._open(path + ("?" + urlencode(query) if query else "")))

    def post(self, path: str, body: Any = None) -> Any:
        """A JSON answer to a JSON body."""
        data = self._open(path, json.dumps({} if body is None else body).encode())
        return json.loads(data) if data else None

    def _open(self, path: str, body: bytes | None = None) -> bytes:
        request = Request(f"http://127.0.0.1:{self.port}{path}", body, {"Content-Type": "application/json"})
        with urlopen(request, timeout=60) as response:
            return response.read()

    def answer(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """The status and the body of the answer to any request, also one that no browser sends."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def queue(self, prompt: Prompt, extra_pnginfo: Any = None) -> str:
        """Hands a prompt in, with the defaults of what it leaves out; its id.

        Raises `PromptError` if the server refuses it.
        """
        filled = {
            node: {"class_type": kind, "inputs": self._defaults(kind) | inputs}
            for node, (kind, inputs) in prompt.items()
        }
        try:
            extra = {"extra_pnginfo": extra_pnginfo}
            asked = {"prompt": filled, "client_id": self.client, "extra_data": extra}
            return self.post("/prompt", asked)["prompt_id"]
        except HTTPError as error:
            answer = json.loads(error.read())
            node_errors = answer.get("node_errors") or {}
            details = [
                error["details"] or error["message"]
                for node in node_errors.values()
                for error in node["errors"]
            ]
            raise PromptError("; ".join(details) or answer["error"]["message"], node_errors) from None

    def _defaults(self, kind: str) -> dict[str, Any]:
        """The values of a node's widgets, as the front end sends them."""
        required = self.nodes[kind]["input"]["required"].items()
        return {
            name: options["default"]
            for name, (_, *rest) in required
            for options in rest
            if "default" in options
        }

    def wait(self, prompt_id: str, on_event=lambda event: None) -> Outcome:
        """Follows one prompt to its end. `on_event` sees each of its events but the last."""
        outcome = Outcome(prompt_id)
        while True:
            message = self.socket.recv()
            if isinstance(message, bytes):
                if int.from_bytes(message[:4], "big") == PREVIEW_IMAGE:
                    outcome.previews.append(Image.open(io.BytesIO(message[8:])))
                continue
            event = json.loads(message)
            data = event["data"]
            if prompt_id not in (
                data.get("prompt_id"),
                data.get("prompt"),
            ):  # the latter in the pack's events
                continue
            if _note(outcome, event["type"], data):
                return outcome
            on_event(event)

    def run(self, prompt: Prompt, on_event=lambda event: None, extra_pnginfo: Any = None) -> Outcome:
        """`queue` and `wait`; raises `PromptError` with the message of a node that failed."""
        outcome = self.wait(self.queue(prompt, extra_pnginfo), on_event)
        if outcome.error:
            raise PromptError(outcome.error["exception_message"], {outcome.error["node_id"]: outcome.error})
        return outcome

    def images(self, outcome: Outcome, node: str) -> np.ndarray:
        """The pictures of an output node, [N, H, W, 3] in 0 to 255."""
        pictures = []
        for place in outcome.outputs[node]["images"]:
            data = self._open("/view?" + urlencode({k: place[k] for k in ("filename", "subfolder", "type")}))
            pictures.append(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
        return np.stack(pictures)

    def resident_bytes(self) -> int:
        """What the process holds of the machine's memory."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


def _note(outcome: Outcome, kind: str, data: dict[str, Any]) -> bool:
    """Writes one event down; True at the prompt's end."""
    if kind == "execution_cached":
        outcome.cached += data["nodes"]
    elif kind == "executing" and data.get("node"):
        outcome.executed.append(data["node"])
    elif kind == "executed":
        outcome.outputs[data["node"]] = data["output"]
    elif kind == "progress":
        outcome.progress.setdefault(data["node"], []).append((data["value"], data["max"]))
    elif kind == "execution_error":
        outcome.error = data
    elif kind == "execution_interrupted":
        outcome.interrupted = True
    return kind in ("execution_success", "execution_error", "execution_interrupted")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
