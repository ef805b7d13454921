"""What the front end is told while a sampler runs: losses, small pictures, times, each loss's share.

Everything of a run goes out as events of one name, collected so that they come at most every so many seconds:
`begin` with what holds for the run, `steps` with what has happened since the event before, `end`. Their fields are
described in web/js/node/run.js and bounded in web/js/node/schema.js.
"""

import base64
import io
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from PIL import Image
from torch import Tensor, nn

from ..diffuseit.guidance.loop import Step
from .estimate import Figures
from .terms import TERMS

EVENT = "diffuseit.run"
THROTTLE_SETTING = "DiffuseIT.Live.Throttle"
THROTTLE = 0.15
"""Seconds between events, unless the user has chosen another number."""

FRAMES = 12
FRAME_SIZE = 256
LARGE_SIZE = 512
MEASUREMENTS = 8
"""How often in a run the shares are measured, which costs a way back through each feature network that losses share."""

Send = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True)
class Facts:
    """What is known before the first step.

    `workflow` and `node` are the front end's ids of the place where the run is shown, `prompt` is the server's of what
    was queued, `run` its own.
    `chain`: for each loss the id of its node and the name of its class. `memory`: bytes of weights and run together.
    `networks` by the name that their calls are counted under. `size`: (width, height) that they work on. `source`
    [3, H, W] in [-1, 1].
    """

    workflow: str
    prompt: str
    node: str
    run: str
    total: int
    batch: int
    chain: Sequence[tuple[str, str]]
    memory: int
    networks: Mapping[str, Sequence[nn.Module]]
    size: tuple[int, int]
    source: Tensor


class Live:
    """The reporter of one run; a context, so that an end is told however the run ends."""

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
        self._last: Step | None = None
        self._calls: Counter[str] = Counter()
        self._calls_before = 0
        self._hooks: list[Any] = []

    def __enter__(self) -> "Live":
        for name, modules in self._facts.networks.items():
            self._hooks += [module.register_forward_pre_hook(self._counter(name)) for module in modules]
        self._began = self._told = self._clock()
        losses = [(node, TERMS.get(loss, {})) for node, loss in self._facts.chain]
        self._tell(
            "begin",
            total=self._facts.total,
            frame_limit=FRAMES,
            losses=[{"node": node, "terms": list(own)} for node, own in losses],
            terms={name: asdict(term) for _, own in losses for name, term in own.items()},
            memory=self._facts.memory,
            source=jpeg(self._facts.source, LARGE_SIZE),
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self.flush()
        self._ended = self._clock()
        self._tell("end", ok=kind is None, elapsed=self._elapsed(), calls=self._calls_per_step())

    def step(self, step: Step, values: Mapping[str, float], picture: Tensor) -> None:
        """One step: the losses `values` by name, and the first picture [3, H, W] in [-1, 1], on the CPU."""
        number, waiting = step.number, self._waiting
        waiting.setdefault("from", number)
        waiting.setdefault("values", []).append({name: rounded(value) for name, value in values.items()})
        waiting["total"] = step.total
        if mark := self._mark(step):
            waiting.setdefault("marks", []).append([number, mark])
        if number >= self._next_frame or number == step.total - 1:
            waiting.setdefault("frames", []).append([number, jpeg(picture, FRAME_SIZE)])
            self._next_frame = number + math.ceil(step.total / FRAMES)
        if step.pulls:
            waiting["gradients"] = [
                [n, rounded(pull.mean().item())] for n, pull in sorted(step.pulls.items())
            ]
        if self._last is None:
            self._calls.clear()  # those for source and targets
        self._last, self._done = step, number + 1
        if self._clock() - self._told >= self._throttle or number == 0:
            self.flush()

    def figures(self) -> Figures:
        """What the run took so far."""
        return Figures(
            seconds_per_step=self._elapsed() / max(1, self._done),
            memory=self._facts.memory,
            calls=self._calls_per_step(),
            pictures=self._facts.batch,
            size=self._facts.size,
        )

    def flush(self) -> None:
        """Sends what waits."""
        if self._waiting:
            waiting, self._waiting = self._waiting, {}
            self._tell("steps", **waiting, elapsed=self._elapsed())

    def result(self, picture: Tensor) -> None:
        """The finished first picture [3, H, W] in [-1, 1], which may come after the end."""
        self._tell("result", picture=jpeg(picture, LARGE_SIZE))

    def _mark(self, step: Step) -> str | None:
        """What makes a step stand out: a "restart" after it, a level seen again, another "picture" of the batch."""
        if step.restarted:
            return "restart"
        last = self._last
        if last is None or last.restarted:
            return None
        if last.items != step.items:
            return "picture"
        return "resample" if last.index == step.index else None

    def _counter(self, name: str) -> Callable[..., None]:
        def count(*_: object) -> None:
            self._calls[name] += 1

        return count

    def _calls_per_step(self) -> dict[str, float]:
        """Forward calls of the networks in a step, the mean over all steps but the first."""
        steps = max(1, self._done - 1)
        return {name: round(self._calls[name] / steps, 2) for name in self._facts.networks}

    def _elapsed(self) -> float:
        now = self._clock() if self._ended is None else self._ended
        return round(now - self._began, 3)

    def _tell(self, kind: str, **what: Any) -> None:
        self._told = self._clock()
        facts = self._facts
        place = {"workflow": facts.workflow, "prompt": facts.prompt, "node": facts.node, "run": facts.run}
        self._send(EVENT, {"kind": kind, **place, **what})


def throttle_seconds(setting: object) -> float:
    """Return the seconds between events for the setting in milliseconds, up to an hour; else `THROTTLE`."""
    if isinstance(setting, int | float) and not isinstance(setting, bool) and 0 < setting <= 3_600_000:
        return setting / 1000
    return THROTTLE


def rounded(value: float) -> float | None:
    """Return six digits, which is more than a screen shows; None for NaN and infinity, which JSON does not have."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def jpeg(picture: Tensor, size: int) -> str:
    """The address of [3, H, W] in [-1, 1] as a picture with no side above `size`."""
    pixels = picture.detach().add(1).mul(127.5).clamp(0, 255).byte().movedim(0, -1).cpu().numpy()
    image = Image.fromarray(pixels)
    image.thumbnail((size, size))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def named(networks: Iterable[tuple[str, nn.Module]]) -> dict[str, list[nn.Module]]:
    """Networks by name, each once."""
    found: dict[str, list[nn.Module]] = {}
    for name, network in networks:
        known = found.setdefault(name, [])
        if network not in known:
            known.append(network)
    return found
