"""Events for the front end while a sampler runs: losses, small images, times, the share of each loss.

All events of a run have one name, and steps are collected so that there is a pause between events: `begin` with what
holds for the whole run, `steps` with what happened since the last event, and `end`. web/js/node/run.js describes their
fields, and web/js/node/schema.js bounds them. Nothing here raises, since a run must not fail because of its display.
"""

import base64
import io
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor, nn

from ..diffuseit.images.io import to_pil
from ..diffuseit.losses import Loss
from .comfy.decoration import Decoration
from .comfy.events import client, is_interruption
from .comfy.user_files import number_setting
from .measurements import Figures

# This module brings timm and open_clip, which must not be loaded with the pack.
if TYPE_CHECKING:
    from ..diffuseit.evaluation.verdict import Verdict

EVENT = "diffuseit.run"
THROTTLE_SETTING = "DiffuseIT.Live.Throttle"
THROTTLE = 0.15
"""Seconds between two events, unless the user has chosen another number."""

MAX_THROTTLE_MS = 60_000
LONGEST_ID = 200
FRAMES = 12
"""About how many small images of each picture are shown."""

SHOWN_PICTURES = 8
"""How many pictures of a batch are shown."""

FRAME_SIZE = 256
LARGE_SIZE = 512
LONGEST_HISTORY = 10_000
"""How many steps of a run a page can catch up with."""

MEASUREMENTS = 8
"""How often in a run shares are measured. Each costs one more backward pass of every network that losses share."""

Send = Callable[[str, dict[str, Any]], None]


def throttle() -> float:
    """Return the pause between two events in seconds: the user's setting if it is above 0."""
    return number_setting(THROTTLE_SETTING, 0, 0, MAX_THROTTLE_MS) / 1000 or THROTTLE


def workflow_id(extra_pnginfo: Any) -> str:
    """Return the id of the workflow that a prompt came from; empty if it came from none.

    Prompts of scripts may have anything in place of a workflow.
    """
    workflow = extra_pnginfo.get("workflow") if isinstance(extra_pnginfo, dict) else None
    found = workflow.get("id") if isinstance(workflow, dict) else None
    return found if isinstance(found, str) and len(found) <= LONGEST_ID else ""


@dataclass(frozen=True)
class Facts:
    """What is known before the first step.

    `workflow` and `node` are the front end's ids of the place that shows the run. `prompt` is the server's id of what
    was queued, and `run` the id of the run. `chain` has each loss with the id of its node. `memory` is the bytes of
    weights and run together. `networks` are by the name under which their calls are counted. `size` is the (width,
    height) that they work at. `source` is [B, 3, H, W] in [-1, 1].
    """

    workflow: str
    prompt: str
    node: str
    run: str
    total: int
    batch: int
    chain: Sequence[tuple[str, Loss]]
    memory: int
    networks: Mapping[str, Sequence[nn.Module]]
    size: tuple[int, int]
    source: Tensor


class Reported(Protocol):
    """What a step of any sampler tells: the fields of `guidance.loop.Step`."""

    @property
    def number(self) -> int: ...
    @property
    def total(self) -> int: ...
    @property
    def t(self) -> int: ...
    @property
    def items(self) -> range: ...
    @property
    def terms(self) -> Mapping[str, Tensor]: ...
    @property
    def shares(self) -> Mapping[int, Tensor]: ...
    @property
    def restarted(self) -> bool: ...


class Live:
    """The reporter of one run: a context, so that it sends an end however the run ends."""

    def __init__(
        self,
        facts: Facts,
        send: Send,
        throttle: float = THROTTLE,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._facts, self._send, self._throttle, self._clock = facts, send, throttle, clock
        self._waiting: dict[str, Any] = {}
        self._began = self._told = clock()
        self._ended: float | None = None
        self._done, self._next_frame = 0, 0
        self._last: Reported | None = None
        self._calls: Counter[str] = Counter()
        self._hooks: list[Any] = []
        self._history = History(client())
        self._decoration = Decoration("what the page shows of a run")

    def __enter__(self) -> "Live":
        global _latest
        _latest = self._history
        with self._decoration:
            for name, modules in self._facts.networks.items():
                self._hooks += [module.register_forward_pre_hook(self._counter(name)) for module in modules]
            self._began = self._told = self._clock()
            labels = {name: label for _, loss in self._facts.chain for name, label in loss.labels.items()}
            self._tell(
                "begin",
                total=self._facts.total,
                frame_limit=FRAMES,
                batch=self._facts.batch,
                size=size_of(self._facts.source[0]),
                losses=[{"node": node, "terms": list(loss.labels)} for node, loss in self._facts.chain],
                terms={name: {"label": label.text, "color": label.color} for name, label in labels.items()},
                memory=self._facts.memory,
                sources=large(self._facts.source),
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
        with self._decoration:
            self._flush()
            self._ended = self._clock()
            outcome = "done" if kind is None else "stopped" if is_interruption(kind) else "failed"
            self._tell("end", outcome=outcome, elapsed=self._elapsed(), calls=self._calls_per_step())

    def step(self, step: Reported, pictures: Callable[[int], Tensor]) -> None:
        """Report a step.

        `pictures(n)` returns its first n images [n, 3, H, W] in [-1, 1] on the CPU. It is called if they are due.
        """
        with self._decoration:
            self._note(step, pictures)
            if self._clock() - self._told >= self._throttle or step.number == 0:
                self._flush()

    def _note(self, step: Reported, pictures: Callable[[int], Tensor]) -> None:
        number, waiting, mark = step.number, self._waiting, self._mark(step)
        if self._last is None:
            self._calls.clear()  # those for source and targets
        self._last, self._done = step, number + 1
        waiting.setdefault("from", number)
        waiting.setdefault("values", []).append(
            {name: rounded(value.mean().item()) for name, value in step.terms.items()}
        )
        waiting["total"] = step.total
        if mark:
            waiting.setdefault("marks", []).append([number, mark])
        shown = step.items[: max(0, SHOWN_PICTURES - step.items.start)]
        if shown and (number >= self._next_frame or number == step.total - 1):
            frames = zip(shown, pictures(len(shown)), strict=True)
            waiting.setdefault("frames", []).extend(
                [number, item, jpeg(picture, FRAME_SIZE)] for item, picture in frames
            )
            # Restarts make the pictures of a batch one after the other.
            turns = min(SHOWN_PICTURES, self._facts.batch) / len(shown)
            self._next_frame = number + math.ceil(step.total / (FRAMES * turns))
        if step.shares:
            norms = [[n, rounded(norm.mean().item())] for n, norm in sorted(step.shares.items())]
            waiting.setdefault("gradients", []).append([number, norms])

    def figures(self) -> Figures:
        """Return what the run took so far."""
        return Figures(
            seconds_per_step=self._elapsed() / max(1, self._done),
            memory=self._facts.memory,
            calls=self._calls_per_step(),
            pictures=self._facts.batch,
            size=self._facts.size,
        )

    def _flush(self) -> None:
        """Send the collected steps."""
        if self._waiting:
            waiting, self._waiting = self._waiting, {}
            self._tell("steps", **waiting, elapsed=self._elapsed())

    def result(
        self,
        pictures: Tensor,
        size: tuple[int, int] | None = None,
        verdicts: Sequence["Verdict"] = (),
    ) -> None:
        """Report the finished images [B, 3, H, W] in [-1, 1]. They may come after the end.

        `size` is the (width, height) of the result where it is not that of `pictures`. `verdicts` are on the first
        images.
        """
        with self._decoration:
            self._tell(
                "result",
                pictures=large(pictures),
                size=size or size_of(pictures[0]),
                verdicts=[verdict.to_json() for verdict in verdicts],
            )

    def _mark(self, step: Reported) -> str | None:
        """Return the mark of a step: "restart" after it, "resample" of a level, the next "picture" of the batch."""
        if step.restarted:
            return "restart"
        last = self._last
        if last is None or last.restarted:
            return None
        if last.items != step.items:
            return "picture"
        return "resample" if last.t == step.t else None

    def _counter(self, name: str) -> Callable[..., None]:
        def count(*_: object) -> None:
            self._calls[name] += 1

        return count

    def _calls_per_step(self) -> dict[str, float]:
        """Return the forward passes of each network per step: the mean over all steps but the first."""
        steps = max(1, self._done - 1)
        return {name: round(self._calls[name] / steps, 2) for name in self._facts.networks}

    def _elapsed(self) -> float:
        now = self._clock() if self._ended is None else self._ended
        return round(now - self._began, 3)

    def _tell(self, kind: str, **what: Any) -> None:
        self._told = self._clock()
        facts = self._facts
        place = {"workflow": facts.workflow, "prompt": facts.prompt, "node": facts.node, "run": facts.run}
        event = {"kind": kind, **place, **what}
        self._history.add(event)
        self._send(EVENT, event)


class History:
    """The events of a run, for a page that was loaded or lost its connection meanwhile. `client` is its id."""

    def __init__(self, client: str | None):
        self._client = client
        self._events: list[dict[str, Any]] = []
        self._steps = 0

    def add(self, event: dict[str, Any]) -> None:
        self._steps += len(event.get("values", ()))
        if self._steps <= LONGEST_HISTORY:
            self._events.append(event)

    def events(self, client: str) -> list[dict[str, Any]]:
        """Return the events for the page `client`: all of them, or none if it is not its run or was too long."""
        return list(self._events) if client == self._client and self._steps <= LONGEST_HISTORY else []


_latest: History | None = None


def latest(client: str) -> list[dict[str, Any]]:
    """Return the events of the last run that began, if it is one of the page `client`."""
    return [] if _latest is None else _latest.events(client)


def size_of(picture: Tensor) -> tuple[int, int]:
    """Return the (width, height) of an image [3, H, W]."""
    return picture.shape[-1], picture.shape[-2]


def rounded(value: float) -> float | None:
    """Return `value` with six digits, more than a screen shows; None if JSON has no number for it."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def large(pictures: Tensor) -> list[str]:
    """Return those of the images [B, 3, H, W] in [-1, 1] that are shown, as data URLs."""
    return [jpeg(picture, LARGE_SIZE) for picture in pictures[:SHOWN_PICTURES]]


def jpeg(picture: Tensor, size: int) -> str:
    """Return an image [3, H, W] in [-1, 1] as a data URL, with no side above `size`."""
    image = to_pil(picture)
    image.thumbnail((size, size))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def named(networks: Iterable[tuple[str, nn.Module]]) -> dict[str, list[nn.Module]]:
    """Return the networks by name, each once."""
    found: dict[str, list[nn.Module]] = {}
    for name, network in networks:
        known = found.setdefault(name, [])
        if network not in known:
            known.append(network)
    return found
