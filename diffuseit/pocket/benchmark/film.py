"""`diffuseit benchmark pocket --task film | views`: sequences of images against the true sequence in the target style.

The exact correspondences are known from the renderer, and none of the figures uses estimated ones. A warp error alone
proves nothing: a film that repeats its first frame has nearly none. It is read beside the SSIM to the true film.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from PIL import Image
from rich.console import Console
from torch import Tensor

from ...correspondence import Correspondence, consensus, from_geometry, warp
from ...correspondence.warp import sampled
from ...errors import InputError
from ...evaluation.edges import luminance
from ...files.atomic import atomic_path
from ...film import FilmSettings, Link, link_by_flow, translate_sequence
from ...images.io import to_pil
from ...images.sheet import save_sheet
from ...losses import CorrespondenceLoss
from ...models.bundle import Models
from ...presets import PRESETS
from ..judge import Judge, class_index
from ..models import pocket_judge, pocket_models
from ..world.canvas import Motion, uniforms
from ..world.moving import Shot, shoot
from ..world.render import sample_geometry
from ..world.seeds import HELD_OUT, TUNING
from . import metrics
from .processes import each
from .report import save_report
from .tasks import Spec, draw_specs, prompt

Kind = Literal["film", "views", "volume"]
Figures = dict[str, float]
Measured = Callable[..., tuple[dict[str, Figures], dict[str, Tensor]]]
"""What returns the figures and the images of a sequence, as `measure_sequence` does."""

PRESET = PRESETS["fast-text"]
FRAMES = {"film": 12, "views": 5, "volume": 8}
SHOWN = 3
"""Sequences in the sheet and in the moving picture."""

MOVING = ("source", "alone", "film-estimated", "truth")
"""Rows of the moving picture, which shows the first `_MOVING_FRAMES` images of each sequence."""

_MOVING_FRAMES = 8
_MOTION_STREAM = 1 << 60  # so that motions have nothing to do with the scenes
_TURN = 12  # frames after which a motion turns back
_BASELINE = 3.0  # pixels that the nearest things move from one view to the next
_BLOCK = 7  # pixels of the side of a block that is matched
_FLAT = 0.03  # the deviation of luminance in [0, 1] in a block, below which there is nothing to match
_FIGURES = (
    "warp",
    "excess",
    "ssim",
    "edge_f1",
    "mae",
    "sharpness",
    "style",
    "flicker",
    "drift",
    "disparity",
    "seconds",
)


@dataclass(frozen=True)
class Way:
    """How the sequence of a row is made: by other settings than the product's, or with estimated flow."""

    film: FilmSettings
    shared_noise: bool = False
    estimated: bool = False


_ONLY_LOSS = FilmSettings(during=0.0, consensus=0.0, loss=CorrespondenceLoss())
WAYS: dict[str, Way] = {
    "alone": Way(FilmSettings(during=0.0, consensus=0.0)),
    "same": Way(FilmSettings(during=0.0, consensus=0.0), shared_noise=True),
    "loss": Way(_ONLY_LOSS),
    "same-loss": Way(_ONLY_LOSS, shared_noise=True),
    "after": Way(FilmSettings(during=0.0)),
    "during": Way(FilmSettings(consensus=0.0)),
    "same-film": Way(FilmSettings(), shared_noise=True),
    "film": Way(FilmSettings()),
    "film-estimated": Way(FilmSettings(), estimated=True),
}
"""Frames that are translated alone, with noise of their own and with the same noise; with the loss; with the consensus
at the end, or in each step, or both (with the same noise, too); and by optical flow that is estimated."""

OF_SLICES = {"same-near": Way(FilmSettings(consensus=0.0, reach=1), shared_noise=True)}
"""Slices of a volume with the same noise that agree with those next to them in each step, as the command has them."""

ROWS = ("source", "first", "truth", *WAYS)
"""The source; the translation of the first frame, repeated; the true film; and what is translated."""


def run_film(
    n: int = 50,
    output: Path | None = None,
    *,
    kind: Kind = "film",
    frames: int | None = None,
    rows: Sequence[str] = ROWS,
    seeds: range = HELD_OUT,
    processes: int = 1,
    console: Console | None = None,
    measured: Measured | None = None,
) -> dict[str, Any]:
    """Measure n sequences by `measured` (`measure_sequence`), in so many processes, and print a table.

    Raise `InputError` for rows that there are not.
    """
    if lost := [row for row in rows if row not in (*ROWS, *OF_SLICES)]:
        raise InputError(f"no row is called {', '.join(lost)}: there are {', '.join(ROWS)}")
    console = console or Console()
    count = frames or FRAMES[kind]
    made: dict[str, list[Figures]] = {row: [] for row in rows}
    shown: dict[str, list[Tensor]] = {}
    one = partial(measured or measure_sequence, kind=kind, frames=count, rows=rows, seeds=seeds)
    for index, (figures, pictures) in enumerate(each(one, range(n), processes)):
        for row, found in figures.items():
            made[row].append(found)
        for row, sequence in pictures.items() if index < SHOWN else ():
            shown.setdefault(row, []).append(sequence)
        console.print(f"{index + 1} of {n} sequences", markup=False, highlight=False)
    report = {
        "kind": kind,
        "n": n,
        "frames": count,
        "seeds": "tuning" if seeds is TUNING else "held out",
        "preset": PRESET.name,
        "rows": [{"name": row, **_summary(found)} for row, found in made.items()],
    }
    text = markdown(report)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    if output is not None:
        save_report(output, kind, report, text)
        save_sheet({row: _picked(parts) for row, parts in shown.items()}, output / f"{kind}.png", scale=2)
        moving = {row: shown[row] for row in shown if row in MOVING}
        save_moving(moving or shown, output / f"{kind}.webp")
        console.print(f"Saved {output}", markup=False, highlight=False, soft_wrap=True)
    return report


def measure_sequence(
    index: int, *, kind: Kind, frames: int, rows: Sequence[str], seeds: range
) -> tuple[dict[str, Figures], dict[str, Tensor]]:
    """Return the figures of one sequence, and its images [N, 3, H, W], by row."""
    models, judge = networks()
    # Views need depth, which animals before a wall hardly have.
    spec = draw_specs([index if kind == "film" else 2 * index], seeds)[0]
    motion = film_motion(spec.seed, index, frames) if kind == "film" else views_motion(frames)
    shot = shoot(sample_geometry(spec.domain, [spec.seed]), motion)
    source, truth = (shot.pictures(style, spec.seed + 1) for style in (spec.source, spec.target))
    exact = shot.neighbors() if kind == "film" else from_geometry(shot.depth(), *shot.cameras())
    sequence = Translations(spec, exact, source, models)
    figures, pictures = {}, {}
    for row in rows:
        given = {"source": source, "truth": truth}.get(row)
        made, seconds = (given, 0.0) if given is not None else sequence.made(row)
        figures[row] = {**measure(made, truth, shot, spec, kind, judge), "seconds": seconds / frames}
        pictures[row] = made
    return figures, pictures if index < SHOWN else {}


def film_motion(seed: int, index: int, count: int) -> Motion:
    """Return one of three motions by turns: a pan of whole pixels, a moving camera, or a still one.

    Things drift in the last two.
    """
    draws = uniforms(torch.tensor([seed + _MOTION_STREAM]), 6)[0].tolist()
    shot = min(count, _TURN)
    # Long films go there and back again, so that the camera does not leave the world.
    steps = torch.arange(count, device="cpu") % max(2 * (shot - 1), 1)
    time_ = (shot - 1 - (steps - (shot - 1)).abs()).float() - (shot - 1) / 2
    still = torch.zeros(count, 2, device="cpu")
    right, forth = (1.0 if draw < 0.5 else -1.0 for draw in (draws[0], draws[3]))
    drift = (0.4 + 0.6 * draws[5]) * time_
    match index // 2 % 3:
        case 0:
            pan = right * (1 + (draws[1] > 0.5)) * (time_ - time_[0] - shot // 2)
            return Motion(torch.stack([pan, 0 * pan], dim=1), 0 * time_, 0 * time_)
        case 1:
            pan = torch.stack(
                [right * (0.25 + 0.5 * draws[1]) * time_, 0.2 * (draws[2] - 0.5) * time_], dim=1
            )
            return Motion(pan, forth * (0.4 + draws[4]) * time_, drift)
        case _:
            return Motion(still, 0 * time_, drift)


def views_motion(count: int) -> Motion:
    """Return the motion of cameras side by side, `_BASELINE` apart, that look the same way."""
    place = torch.arange(count, device="cpu").float() - (count - 1) / 2
    return Motion(torch.zeros(count, 2, device="cpu"), _BASELINE * place, 0 * place)


@torch.no_grad()
def measure(made: Tensor, truth: Tensor, shot: Shot, spec: Spec, kind: Kind, judge: Judge) -> Figures:
    """Return the figures of a sequence [N, 3, H, W].

    `ssim`, `edge_f1`, and `mae` compare with the true sequence, and `sharpness` is its part of the total variation.
    `warp` is the mean difference, in units of [0, 1], of corresponding pixels of neighbors, `drift` that of the first
    image and the last, and `flicker` that of neighbors where nothing moves. `disparity` is the mean error in pixels of
    block matching between the first image and the last.
    """
    count, last = len(made), len(made) - 1
    reached = judge(made).argmax(1) == class_index(spec.domain, [spec.target])
    onward = shot.links([(i, i + 1) for i in range(last)])
    still = (shot.flow(list(range(last)), list(range(1, count))).abs().amax(1, keepdim=True) < 1e-6).float()
    found = {
        "warp": warp_error(made, onward, shot),
        "ssim": metrics.ssim(made, truth).mean().item(),
        "edge_f1": metrics.edge_f1(made, truth).mean().item(),
        "mae": metrics.mae(made, truth).mean().item(),
        "sharpness": _variation(made) / _variation(truth),
        "style": reached.double().mean().item(),
        "drift": warp_error(made, shot.links([(0, last)]), shot),
    }
    # A few pixels say little.
    if float(still.mean()) > 0.1:
        found["flicker"] = warp_error(made, onward, shot, still)
    if kind == "views":
        found["disparity"] = disparity_error(made, truth, shot)
    return found


def warp_error(made: Tensor, links: Correspondence, shot: Shot, where: Tensor | float = 1.0) -> float:
    """Return the mean absolute difference of corresponding pixels, away from the borders of what is seen."""
    plain = shot.plain()
    seen_in_both = (links.certainty > 0.99) & (warp(plain, links) > 0.99)
    sure = seen_in_both * plain[list(links.image)] * where
    difference = (warp(made, links) - made[list(links.image)]).abs().mean(1, keepdim=True) / 2
    return ((difference * sure).sum() / sure.sum().clamp_min(1)).item()


def disparity_error(made: Tensor, truth: Tensor, shot: Shot) -> float:
    """Return the mean error in pixels of block matching between the first view and the last.

    It counts where both see a pixel, and where its block in the true view is not flat.
    """
    first, last = luminance(made[:1]), luminance(made[-1:])
    exact = -shot.flow([0], [len(made) - 1])[:, :1]
    light = luminance(truth[:1])
    variance = _of_blocks(light.square()) - _of_blocks(light).square()
    sure = (shot.links([(0, len(made) - 1)]).certainty > 0.99) & (variance > _FLAT**2)
    x = torch.arange(made.shape[-1], dtype=torch.float32, device="cpu").expand(made.shape[-2:])
    y = torch.arange(made.shape[-2], dtype=torch.float32, device="cpu")[:, None].expand(made.shape[-2:])
    steps = torch.arange(0, _BASELINE * (len(made) - 1) + 1, 0.5, device="cpu")
    costs = []
    for step in steps.tolist():
        moved = sampled(last, torch.stack([x - step, y]).unsqueeze(0))
        costs.append(_of_blocks((first - moved).abs()))
    matched = steps[torch.cat(costs).argmin(0)]
    return (((matched - exact).abs() * sure).sum() / sure.sum()).item()


def _variation(pictures: Tensor) -> float:
    return sum(pictures.diff(dim=axis).abs().mean().item() for axis in (-1, -2))


def _of_blocks(values: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(values, (_BLOCK // 2,) * 4, mode="replicate"), _BLOCK, stride=1)


def markdown(report: dict[str, Any]) -> str:
    """Return the table of a report."""
    names = [name for name in _FIGURES if any(name in row for row in report["rows"])]
    lines = [
        f"{report['n']} sequences of {report['frames']} images, {report['seeds']} seeds, {report['preset']}",
        "",
        "| row | " + " | ".join(names) + " |",
        "|---|" + "---|" * len(names),
    ]
    for row in report["rows"]:
        lines.append(f"| {row['name']} | " + " | ".join(_shown(row, name) for name in names) + " |")
    return "\n".join(lines) + "\n"


def save_moving(shown: dict[str, list[Tensor]], path: Path, scale: int = 2) -> None:
    """Save an animation: the sequences one below the other, their rows side by side."""
    names = list(shown)
    images = []
    for at in range(min(len(shown[names[0]][0]), _MOVING_FRAMES)):
        tiles = torch.cat(
            [torch.cat([sequence[at] for sequence in shown[name]], dim=-2) for name in names], dim=-1
        )
        picture = to_pil(tiles)
        size = (picture.width * scale, picture.height * scale)
        images.append(picture.resize(size, Image.Resampling.NEAREST))
    # There and back again, so that the loop has no jump.
    images += images[-2:0:-1]
    with atomic_path(path) as target:
        images[0].save(
            target, format="WEBP", save_all=True, append_images=images[1:], duration=120, loop=0, quality=80
        )


@cache
def networks() -> tuple[Models, Judge]:
    return pocket_models(), pocket_judge()


@dataclass
class Translations:
    """A sequence to translate, and its exact correspondences.

    Rows that differ in the consensus at the end alone share one translation.
    """

    spec: Spec
    exact: Correspondence
    source: Tensor
    models: Models
    _known: dict[Way, tuple[Tensor, float]] = field(default_factory=dict)

    def made(self, row: str) -> tuple[Tensor, float]:
        """Return the images of a row, and the processor seconds that they took."""
        if row == "first":
            alone, seconds = self.made("alone")
            return alone[:1].expand_as(alone), seconds / len(alone)
        way = (WAYS | OF_SLICES)[row]
        bare = replace(way, film=replace(way.film, consensus=0.0))
        if bare not in self._known:
            self._known[bare] = self._translated(bare)
        pictures, seconds = self._known[bare]
        if way.film.consensus == 0:
            return pictures, seconds
        began = time.process_time()
        links = self._link(way)(range(len(pictures)), self.source)
        agreed = consensus(pictures, links, way.film.consensus, way.film.reach)
        return agreed, seconds + time.process_time() - began

    def _translated(self, way: Way) -> tuple[Tensor, float]:
        to, from_ = (prompt(self.spec.domain, style) for style in (self.spec.target, self.spec.source))
        losses = PRESET.build(self.models, to, from_)
        sampler = replace(PRESET.sampler, shared_noise=way.shared_noise)
        link, began = self._link(way), time.process_time()
        frames = translate_sequence(
            self.models.ddpm, self.source, losses, sampler, self.spec.seed, film=way.film, link=link
        )
        pictures = torch.stack([frame.picture for frame in frames])
        return pictures, time.process_time() - began

    def _link(self, way: Way) -> Link:
        if way.estimated:
            return link_by_flow

        def link(indices: range, frames: Tensor) -> Correspondence:
            part = self.exact.keep(lambda a, b: a in indices and b in indices)
            return part.renumbered(lambda i: i - indices.start)

        return link


def _summary(found: Sequence[Figures]) -> dict[str, Any]:
    """Return the mean of each figure over the sequences that have it, with its interval."""
    row: dict[str, Any] = {}
    for name in _FIGURES:
        values = torch.tensor([one[name] for one in found if name in one])
        if len(values):
            row |= {name: values.mean().item(), f"{name}_ci": metrics.mean_interval(values)}
    return row


def _shown(row: dict[str, Any], name: str) -> str:
    if name not in row:
        return ""
    digits = {"warp": 4, "excess": 4, "flicker": 4, "drift": 4, "ssim": 3, "edge_f1": 3, "mae": 3}.get(
        name, 2
    )
    interval = row[f"{name}_ci"]
    return f"{row[name]:.{digits}f}" + (
        "" if interval is None else f" ±{(interval[1] - interval[0]) / 2:.{digits}f}"
    )


def _picked(sequences: Sequence[Tensor]) -> Tensor:
    """Return the first, the middle, and the last image of each sequence."""
    return torch.cat([one[[0, len(one) // 2, len(one) - 1]] for one in sequences])
