"""Communication of a running node with the user: progress, events for the front end, interruptions."""

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import comfy.model_management as management
import comfy.utils
from comfy_execution.utils import get_executing_context
from torch import Tensor, nn

from ...diffuseit.images.io import to_pil
from .decoration import Decoration

PREVIEW_SIZE = 512


def server() -> Any | None:
    """Return ComfyUI's `PromptServer`; None under a tool that only lists the nodes."""
    return getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)


class Progress:
    """The progress bar and the preview on the running node. Updates also check for an interruption."""

    def __init__(self, total: int):
        self._bar = comfy.utils.ProgressBar(total)
        self._decoration = Decoration("the progress on the node")

    def update(self, done: int, total: int, picture: Tensor | None = None) -> None:
        """Show `done` of `total`, and `picture` [3, H, W] in [-1, 1].

        Raise ComfyUI's interruption if the user asked for it.
        """
        with self._decoration:
            preview = None if picture is None else ("JPEG", to_pil(picture), PREVIEW_SIZE)
            self._bar.update_absolute(done, total, preview)
        check_interruption()


def executing() -> tuple[str, str]:
    """Return the ids of the running (prompt, node) that the server's events name; empty if nothing runs."""
    context = get_executing_context()
    return ("", "") if context is None else (str(context.prompt_id), str(context.node_id))


def client() -> str | None:
    """Return the id of the page that queued the running prompt; None if a script did, or nothing runs."""
    return getattr(server(), "client_id", None)


@dataclass(frozen=True)
class Queued:
    """The prompt that runs: its id, its nodes by their ids, and what the front end adds to images."""

    id: str = ""
    nodes: Any = None
    extra_pnginfo: Any = None


def running() -> Queued:
    """Return the prompt that runs; an empty one if nothing does, or without a server."""
    prompt, queue = executing()[0], getattr(server(), "prompt_queue", None)
    with Decoration("what is known of the running prompt"):
        if queue is not None:
            for _, id, nodes, extra, *_ in queue.get_current_queue_volatile()[0]:
                if id == prompt:
                    return Queued(prompt, nodes, extra.get("extra_pnginfo"))
    return Queued(prompt)


def tell(event: str, data: dict[str, Any]) -> None:
    """Send an event to the front end that queued the running prompt, without waiting for it to arrive.

    If a prompt has no client id, nothing is sent, since the server would send it to every open page.
    """
    prompt_server, page = server(), client()
    if prompt_server is not None and page is not None:
        prompt_server.send_sync(event, data, page)


def show_text(text: str) -> None:
    """Show a line of text on the running node, and in ComfyUI's log."""
    logging.info("DiffuseIT: %s", text)
    prompt_server = server()
    if prompt_server is not None:
        with Decoration("the text on the node"):
            prompt_server.send_progress_text(text, executing()[1])


def check_interruption() -> None:
    """Raise ComfyUI's interruption if the user asked for it."""
    management.throw_exception_if_processing_interrupted()


def is_interruption(kind: type[BaseException]) -> bool:
    """Return whether an exception of this class ends a run because the user asked for it."""
    return issubclass(kind, management.InterruptProcessingException)


@contextmanager
def interruptible(networks: Iterable[nn.Module]) -> Iterator[None]:
    """Check for an interruption before each call of the networks, since a step is long, and an inversion has none."""
    hooks = [network.register_forward_pre_hook(lambda *_: check_interruption()) for network in networks]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
