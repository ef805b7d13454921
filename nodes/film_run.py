"""A run of the sampler on a batch whose images hold together: windows of images, one after the other."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..diffuseit.api import Result, note_losses
from ..diffuseit.correspondence import Correspondence
from ..diffuseit.errors import InputError
from ..diffuseit.film import translate_sequence
from ..diffuseit.frames.links import fitted
from ..diffuseit.guidance.loop import Step
from ..diffuseit.performance.options import Execution
from .verdicts import tell_film

if TYPE_CHECKING:
    from .run import Run


def check_film(run: "Run") -> None:
    """Raise `InputError` for a run that has something for each image, or whose film is of other images."""
    assert run.film is not None
    count = len(run.source)
    several = [run.mask, run.colors, *(one.mask for one in run.losses)]
    several += [value for one in run.losses for value in one.inputs.values() if isinstance(value, Tensor)]
    if any(value is not None and len(value) > 1 for value in several):
        raise InputError(
            "options holds the images together: give one mask and one style image for all of them"
        )
    check_links(run.film.correspondence, count, "images")


def check_links(links: Correspondence, count: int, what: str) -> None:
    """Raise `InputError` for links of other images than the `count` that there are; `what` says what they are."""
    own = max((*links.image, *links.other), default=0) + 1
    if own != count:
        raise InputError(
            f"the correspondences are of {own} images, and here are {count} {what}: connect the same images to "
            "DiffuseIT Correspondences"
        )


def windows(run: "Run") -> int:
    """Return how many windows the run has; 1 without a film."""
    return 1 if run.film is None else math.ceil(len(run.source) / run.film.settings.window)


def at_once(run: "Run") -> int:
    """Return how many images are translated together."""
    return len(run.source) if run.film is None else min(len(run.source), run.film.settings.window)


@dataclass
class _Counted:
    """Numbers the steps of all windows as those of one run."""

    on_step: Callable[[Step], None]
    windows: int
    history: dict[str, list[float]]
    begun: int = 0
    images: int = 0

    def __call__(self, step: Step) -> None:
        total = step.total
        note_losses(self.history, step)
        self.on_step(
            replace(
                step,
                number=step.number + self.begun * total,
                total=total * self.windows,
                items=range(self.images, self.images + len(step.items)),
            )
        )
        if step.number + 1 == total:
            self.begun += 1
            self.images += len(step.items)


def translate_film(run: "Run", options: Execution, on_step: Callable[[Step], None]) -> Result:
    """Translate the images of a run with a film. The trajectory of each image is its result."""
    film = run.film
    assert film is not None
    links = fitted(film.correspondence, run.fit)

    def link(indices: range, frames: Tensor) -> Correspondence:
        own = links.keep(lambda a, b: a in indices and b in indices)
        return own.renumbered(lambda index: index - indices.start)

    counted = _Counted(on_step, windows(run), {"loss": []})
    frames = list(
        translate_sequence(
            run.ddpm.module,
            iter(run.source),
            run.losses,
            run.settings,
            run.seed,
            film=film.settings,
            link=link,
            mask=run.mask,
            colors=run.colors,
            options=options,
            on_step=counted,
        )
    )
    # Networks that wait on the processor are too slow for all frames.
    tell_film(frames, run.source, run.losses if options.offload is None else ())
    pictures = torch.stack([frame.picture for frame in frames])
    return Result(pictures, counted.history, tuple(picture[None] for picture in pictures))
