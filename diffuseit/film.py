"""Translate a sequence of images that belong together: the frames of a film, or views along a path.

In each step the predictions of neighbors go toward their mean along the correspondences, and the results do so at the
end. Each image has noise of its own: the mean of several tries is better than each of them. The sequence runs through
in windows, so memory does not grow with its length.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice

import torch
from torch import Tensor

from .api import translate_with
from .correspondence import (
    Agreement,
    Correspondence,
    LatentAgreement,
    consensus,
    link_estimated,
    scene_cuts,
)
from .correspondence.links import joined
from .correspondence.raft import Estimator, network_flow
from .correspondence.warp import check_images, differences
from .errors import InputError
from .guidance.loop import Agree, Step
from .guidance.mask import as_mask, blend
from .guidance.rng import Seeded
from .guidance.settings import SamplerSettings
from .losses import BoundLoss, CorrespondenceLoss, bind
from .models.base import Backbone
from .models.latent import LatentDiffusion
from .performance.options import FULL_SPEED, Execution
from .schema import check, number

Link = Callable[[range, Tensor], Correspondence]
"""`link(indices, frames)` returns the correspondences of neighbors among frames [n, 3, H, W], numbered from 0. The
indices are those of the frames in the sequence."""


def link_by_flow(indices: range, frames: Tensor) -> Correspondence:
    """Return the correspondences of neighbors by estimated optical flow."""
    return link_estimated(frames)


def link_by_network(estimate: Estimator, device: torch.device) -> Link:
    """Return the `link` by the flow of a network such as RAFT (`correspondence.raft.load_raft`) on `device`."""
    flow = partial(network_flow, estimate, device=device)
    return lambda indices, frames: link_estimated(frames, flow)


@dataclass(frozen=True, kw_only=True)
class FilmSettings:
    """How the images of a sequence are held together.

    `window` images are translated at a time. In each step, each pixel of the predictions goes by `during` (0 to 1) of
    the way to the mean along its path through the `reach` images before and after it, and at the end, each pixel of
    the results by `consensus`. `loss` holds predictions together by a loss (None: not).
    Raise `InputError` for numbers that cannot work.
    """

    window: int = number(8, low=1, high=1000)
    reach: int = number(4, low=0, high=100)
    during: float = number(0.5, low=0.0, high=1.0)
    consensus: float = number(1.0, low=0.0, high=1.0)
    loss: CorrespondenceLoss | None = None

    def __post_init__(self) -> None:
        check(self)

    def agreement(
        self, correspondence: Correspondence, finished: Mapping[int, Tensor] | None = None
    ) -> Agreement | None:
        """Return the `agree` of a run, for images of which some are `finished`, by number; None if there is none."""
        if self.during == 0 or self.reach == 0 or len(correspondence) == 0:
            return None
        return Agreement(correspondence, self.during, self.reach, finished or {})


@dataclass(frozen=True)
class Frame:
    """A result: `picture` [3, H, W] in [-1, 1] on the CPU. `cut`: it begins a new scene, and knows none before it.

    `warp_error` is the mean difference to the frame before it along the correspondences, in units of [0, 1]; None
    where nothing corresponds.
    """

    index: int
    picture: Tensor
    cut: bool = False
    warp_error: float | None = None


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
    `losses` hold for every frame, and `mask` [H, W] too. Frame i uses `seed + i`. Frames do not restart, since they are
    translated together. The other arguments are those of `translate_with`.
    Raise `InputError` without frames, for frames of several sizes, with the number of the frame, and for what
    `translate_with` refuses.
    """
    settings = replace(settings, restart_above=None)
    if mask is not None:
        mask = as_mask(mask).cpu()
    rest = iter(frames)
    buffer, emitted, cuts = _Buffer(first), first, set[int]()
    known: set[int] = set()
    last: Tensor | None = None

    def ready(end: int) -> Iterator[Frame]:
        nonlocal emitted, last
        if end <= emitted:
            return
        links = _shifted(joined(buffer.links), -buffer.first) if buffer.links else None
        pictures = torch.stack(buffer.pictures)
        if links is not None:
            pictures = consensus(pictures, links, film.consensus, film.reach)
        if mask is not None:
            pictures = blend(pictures, torch.stack(buffer.sources), mask)
        # What is finished already is compared as it is.
        for index in known:
            pictures[index - buffer.first] = buffer.pictures[index - buffer.first]
        if last is not None:
            pictures[emitted - 1 - buffer.first] = last
        errors = {} if links is None else _warp_errors(pictures, links)
        for index in range(emitted, end):
            if index not in known:
                place = index - buffer.first
                yield Frame(index, pictures[place], index in cuts, errors.get(place))
        last, emitted = pictures[end - 1 - buffer.first].clone(), end
        known.difference_update(range(end))
        cuts.difference_update(range(end))
        buffer.drop(end - max(film.reach, 1))

    while new := _checked(list(islice(rest, film.window)), buffer):
        # The links of the frames before are known, except the one to the first new frame.
        known_frames = buffer.sources[-1:]
        start = buffer.end - len(known_frames)
        sources = torch.stack([*known_frames, *new])
        links = link(range(start, start + len(sources)), sources)
        check_images(sources, links)
        cut = scene_cuts(links)
        cuts.update(start + place for place in cut)
        buffer.links.append(_shifted(_within_scenes(links, cut), start))

        past = min(len(buffer.pictures), max(film.reach, 1))
        window = range(buffer.end - past, buffer.end + len(new))
        made = dict(enumerate(buffer.pictures[len(buffer.pictures) - past :]))
        for index in range(buffer.end, window.stop):
            if (picture := finished(index)) is not None:
                made[index - window.start] = _fitting(picture, new[0], index)
                known.add(index)
        wanted = [place for place in range(len(window)) if place not in made]
        if wanted:
            links = _within(joined(buffer.links), window)
            result = translate_with(
                backbone,
                torch.stack([new[place - past] for place in wanted]),
                [*losses, *_held(film, links, wanted, made)],
                settings,
                mask=mask,
                colors=colors,
                options=options,
                on_step=on_step,
                rng=None if settings.shared_noise else Seeded.of(seed + window[place] for place in wanted),
                seed=seed,
                agree=_agree(film, links, made, backbone),
            )
            made.update(zip(wanted, result.pictures, strict=True))
        buffer.sources += new
        buffer.pictures += [made[place] for place in range(past, len(window))]
        yield from ready(buffer.end - film.reach)
    if buffer.end == first:
        raise InputError("there are no frames: give at least one")
    yield from ready(buffer.end)


def _warp_errors(pictures: Tensor, links: Correspondence) -> dict[int, float]:
    """Return the mean difference of images to the one before them, in units of [0, 1], where there is one."""
    back = links.keep(lambda a, b: b == a - 1)
    found = zip(back.image, (differences(pictures, back) / 2).tolist(), strict=True)
    return {image: error for image, error in found if math.isfinite(error)}


def _shifted(links: Correspondence, by: int) -> Correspondence:
    return links.renumbered(lambda i: i + by)


def _within(links: Correspondence, window: range) -> Correspondence:
    """Return the links between the images of a window, numbered from its start."""
    return _shifted(links.keep(lambda a, b: a in window and b in window), -window.start)


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


@torch.no_grad()
def _agree(
    film: FilmSettings, links: Correspondence, made: Mapping[int, Tensor], backbone: Backbone
) -> Agree | None:
    """Return what lets the predictions of a window agree, and with the images of it that are `made`."""
    if isinstance(backbone, LatentDiffusion):
        agreement = film.agreement(links, made)
        return agreement and LatentAgreement(agreement, backbone.decode, backbone.encode)
    encoded = {
        place: backbone.encode(picture.unsqueeze(0).to(backbone.device))[0] for place, picture in made.items()
    }
    return film.agreement(links, encoded)


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


def _fitting(picture: Tensor, frame: Tensor, index: int) -> Tensor:
    if picture.shape != frame.shape:
        raise InputError(
            f"the result of frame {index} is {tuple(picture.shape)}, and the frame is {tuple(frame.shape)}: "
            "remove it, or give frames of its size"
        )
    return picture.detach().float().cpu()
