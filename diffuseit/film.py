"""Translate a sequence of images that belong together: the frames of a film, or views along a path.

Each image is translated with the same noise. Corresponding pixels of neighbors are held together by a loss while they
are translated, and averaged afterwards. The sequence runs through in windows, so memory does not grow with its length.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import torch
from torch import Tensor

from .api import translate_with
from .correspondence import Correspondence, consensus, link_estimated, scene_cuts
from .correspondence.links import joined
from .correspondence.warp import check_images
from .errors import InputError
from .guidance.loop import Step
from .guidance.mask import as_mask, blend
from .guidance.settings import SamplerSettings
from .losses import BoundLoss, CorrespondenceLoss, bind
from .models.base import Backbone
from .performance.options import FULL_SPEED, Execution
from .schema import check, number

Link = Callable[[range, Tensor], Correspondence]
"""`link(indices, frames)` returns the correspondences of neighbors among frames [n, 3, H, W], numbered from 0. The
indices are those of the frames in the sequence."""


def link_by_flow(indices: range, frames: Tensor) -> Correspondence:
    """Return the correspondences of neighbors by estimated optical flow."""
    return link_estimated(frames)


@dataclass(frozen=True, kw_only=True)
class FilmSettings:
    """How the images of a sequence are held together.

    `window` images are translated at a time. After that, each pixel goes by `consensus` (0 to 1) of the way to the mean
    along its path through the `reach` images before and after it; at 0 or with a `reach` of 0 it stays. `loss` holds
    predictions together during the run (None: not).
    Raise `InputError` for numbers that cannot work.
    """

    window: int = number(8, low=1, high=1000)
    reach: int = number(4, low=0, high=100)
    consensus: float = number(1.0, low=0.0, high=1.0)
    loss: CorrespondenceLoss | None = field(default_factory=CorrespondenceLoss)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Frame:
    """A result: `picture` [3, H, W] in [-1, 1] on the CPU. `cut`: it begins a new scene, and knows none before it."""

    index: int
    picture: Tensor
    cut: bool = False


@dataclass
class _Buffer:
    """The images that a consensus still needs, from index `first` on, with the links between neighbors."""

    first: int
    sources: list[Tensor] = field(default_factory=list)
    pictures: list[Tensor] = field(default_factory=list)
    links: list[Correspondence] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.first + len(self.pictures)

    def drop(self, before: int) -> None:
        """Forget the images before an index."""
        count = max(before - self.first, 0)
        del self.sources[:count], self.pictures[:count]
        self.first += count
        kept = [link.keep(lambda a, b: min(a, b) >= self.first) for link in self.links]
        self.links = [link for link in kept if len(link)]


def translate_sequence(
    backbone: Backbone,
    frames: Iterable[Tensor],
    losses: Sequence[BoundLoss],
    settings: SamplerSettings,
    seed: int = 0,
    *,
    film: FilmSettings = FilmSettings(),
    link: Link = link_by_flow,
    first: int = 0,
    finished: Callable[[int], Tensor | None] = lambda index: None,
    mask: Tensor | None = None,
    colors: Tensor | None = None,
    options: Execution = FULL_SPEED,
    on_step: Callable[[Step], None] | None = None,
) -> Iterator[Frame]:
    """Yield the translations of `frames`, each [3, H, W] in [-1, 1] of one size, in order.

    `first` is the index of the first frame. `finished(index)` returns a result [3, H, W] that exists already: it is
    not made again and not yielded, but its neighbors agree with it. A run that was interrupted goes on by the same
    call; frames that are further than `FilmSettings.reach` before the first one without a result may be left out.

    A frame is yielded when the `reach` frames after it are translated. Where scenes are cut, the correspondences end.
    `losses` hold for every frame, and `mask` [H, W] too. The other arguments are those of `translate_with`.
    Raise `InputError` for frames of several sizes, with the number of the frame, and for what `translate_with` refuses.
    """
    settings = replace(settings, shared_noise=True)
    if mask is not None:
        mask = as_mask(mask)
    rest = iter(frames)
    buffer, emitted, cuts = _Buffer(first), first, set[int]()
    known: set[int] = set()

    def ready(end: int) -> Iterator[Frame]:
        nonlocal emitted
        if end <= emitted:
            return
        links = _shifted(joined(buffer.links), -buffer.first) if buffer.links else None
        pictures = torch.stack(buffer.pictures)
        if links is not None:
            pictures = consensus(pictures, links, film.consensus, film.reach)
        if mask is not None:
            pictures = blend(pictures, torch.stack(buffer.sources), mask)
        for index in range(emitted, end):
            if index not in known:
                yield Frame(index, pictures[index - buffer.first], index in cuts)
        emitted = end
        known.difference_update(range(end))
        cuts.difference_update(range(end))
        buffer.drop(end - max(film.reach, 1))

    while new := _checked(list(islice(rest, film.window)), buffer):
        shared = min(len(buffer.sources), 1)
        start = buffer.end - shared
        indices = range(start, buffer.end + len(new))
        sources = torch.stack([*buffer.sources[len(buffer.sources) - shared :], *new])
        links = link(indices, sources)
        check_images(sources, links)
        cut = scene_cuts(links)
        links = _within_scenes(links, cut)
        cuts.update(start + c for c in cut)

        made: dict[int, Tensor] = {0: buffer.pictures[-1]} if shared else {}
        for place in range(shared, len(sources)):
            if (picture := finished(start + place)) is not None:
                made[place] = _fitting(picture, sources, start + place)
                known.add(start + place)
        wanted = [place for place in range(len(sources)) if place not in made]
        if wanted:
            result = translate_with(
                backbone,
                sources[wanted],
                [*losses, *_held(film, links, wanted, made)],
                settings,
                seed,
                mask=mask,
                colors=colors,
                options=options,
                on_step=on_step,
            )
            made.update(zip(wanted, result.pictures, strict=True))
        buffer.sources += new
        buffer.pictures += [made[place] for place in range(shared, len(sources))]
        buffer.links.append(_shifted(links, start))
        yield from ready(buffer.end - film.reach)
    yield from ready(buffer.end)


def _shifted(links: Correspondence, by: int) -> Correspondence:
    return links.renumbered(lambda i: i + by)


def _within_scenes(links: Correspondence, cuts: Sequence[int]) -> Correspondence:
    return links.keep(lambda a, b: all((a < cut) == (b < cut) for cut in cuts))


def _held(
    film: FilmSettings, links: Correspondence, wanted: Sequence[int], made: dict[int, Tensor]
) -> list[BoundLoss]:
    """Return the loss that holds the `wanted` images of a window together, and to those that are `made`."""
    place = {old: new for new, old in enumerate([*wanted, *made])}
    links = links.keep(lambda a, b: place[a] < len(wanted)).renumbered(lambda i: place[i])
    if film.loss is None or film.loss.weight == 0 or len(links) == 0:
        return []
    references = torch.stack(list(made.values())) if made else None
    return bind([film.loss], correspondence=links, references=references)


def _checked(new: list[Tensor], buffer: _Buffer) -> list[Tensor]:
    """Return new frames on the CPU. Raise `InputError` unless they are images of the size of those before."""
    if not new:
        return []
    size = (buffer.sources or new)[0].shape
    for index, frame in enumerate(new, start=buffer.end):
        if frame.ndim != 3 or len(frame) != 3:
            raise InputError(f"frame {index} is {tuple(frame.shape)}: it must be [3, H, W]")
        if frame.shape != size:
            raise InputError(
                f"frame {index} has {frame.shape[-1]}x{frame.shape[-2]} pixels, those before it "
                f"{size[-1]}x{size[-2]}: give all frames one size"
            )
    return [frame.detach().float().cpu() for frame in new]


def _fitting(picture: Tensor, sources: Tensor, index: int) -> Tensor:
    if picture.shape != sources.shape[1:]:
        raise InputError(
            f"the result of frame {index} is {tuple(picture.shape)}, and the frame is {tuple(sources.shape[1:])}: "
            "remove it, or give frames of its size"
        )
    return picture.detach().float().cpu()
