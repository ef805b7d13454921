"""`diffuseit benchmark pocket --task latent`: what losses, texts, and both are worth on a latent flow model.

Settings were looked for on tuning seeds.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from ...errors import InputError
from ...evaluation.registration import register
from ...files.atomic import atomic_path
from ...guidance.loop import sample
from ...guidance.prediction import PredictionGuidance, PredictionSettings
from ...guidance.rng import Seeded
from ...guidance.settings import SamplerSettings
from ...images.io import load_picture, save_picture, to_pil, to_tensor
from ...images.sheet import save_sheet
from ...losses import BoundLoss
from ...methods import DSG, MPGD, AnyMethod, DiffuseIT
from ...models.latent import LatentDiffusion
from ...presets import PRESETS, Preset
from ...schema import to_json
from ..latent import PocketLatent, flow_sigmas, pocket_latent
from ..models import pocket_judge, pocket_models
from ..world.seeds import HELD_OUT, TUNING
from .report import save_report
from .run import BATCH, measure, references, translate_tasks, with_interval
from .tasks import Tasks, build_tasks, draw_specs

FORMAT = 1
SHOWN = 10
"""Images in the contact sheet."""

STEPS = 12
VISITS = 8
"""How often the loop's rows visit the first level."""

Walk = Literal["loop", "euler", "transport", "round trip", "pixel model"]


@dataclass(frozen=True)
class Row:
    """One way to translate, and where it starts: at noise of `strength`, in (0, 1).

    `walk`: the core's "loop"; "euler", a sampler whose predictions are moved, as DiffuseIT Guide Model does it;
    "transport" (Kulikov et al. 2024, FlowEdit; Kim et al. 2025, FlowAlign: with `zeta`); the "round trip" of the truth
    through the autoencoder; or the "pixel model". `cfg`: classifier-free guidance by the text; 0 asks for no text.
    """

    name: str
    walk: Walk = "loop"
    strength: float = 0.6
    cfg: float = 0.0
    preset: str | None = None
    method: AnyMethod = field(default_factory=lambda: MPGD(step_rule="normalized"))
    resample: int = VISITS
    backward: bool = False
    zeta: float = 0.0


_HALF = MPGD(step_rule="normalized", step_size=0.5)
_STEPS = DiffuseIT(step_rule="normalized", step_size=0.5)
_FOLLOWS = MPGD(step_rule="normalized", symmetric=True, eta=0.0)

ROWS = (
    *(Row(f"sdedit-{at}", strength=at, cfg=2.0, resample=1) for at in (0.3, 0.4, 0.5, 0.6, 0.75)),
    Row("text-both", preset="latent-text", cfg=2.0),
    Row("text-losses", preset="fast-text", strength=0.75),
    Row("image-losses", preset="latent-image", strength=0.75),
    Row("image-both", preset="latent-image", cfg=2.0),
    Row("text-both-euler", "euler", preset="latent-text", cfg=2.0, method=_FOLLOWS),
    Row("text-both-one-visit", preset="latent-text", cfg=2.0, resample=1),
    Row("transport", "transport", cfg=3.0, strength=0.75),
    Row("transport-align", "transport", cfg=3.0, strength=0.75, zeta=0.01),
    Row("transport-both", "transport", cfg=3.0, strength=0.75, preset="latent-text", method=_HALF),
    Row("text-both-0.75", preset="latent-text", cfg=2.0, strength=0.75),
    Row("text-both-dsg", preset="latent-text", cfg=2.0, method=DSG()),
    Row("text-both-diffuseit", preset="latent-text", cfg=2.0, method=_STEPS),
    Row("text-both-network", preset="latent-text", cfg=2.0, method=_STEPS, backward=True),
    Row("pixel-text", "pixel model", preset="best-text"),
    Row("pixel-image", "pixel model", preset="best-image"),
    Row("round-trip", "round trip"),
)


def rows_named(names: str | None) -> tuple[Row, ...]:
    """Return the rows of these names, separated by commas; all if None. Raise `InputError` for another name."""
    known = {row.name: row for row in ROWS}
    wanted = list(known) if names is None else [name.strip() for name in names.split(",")]
    if lost := [name for name in wanted if name not in known]:
        raise InputError(f"no row is called {', '.join(lost)}: there are {', '.join(known)}")
    return tuple(known[name] for name in wanted)


def translate(row: Row, tasks: Tasks, latent: PocketLatent, seed: int) -> Tensor:
    """Return the results [N, 3, 64, 64] of a row; item i uses seed + i."""
    preset = None if row.preset is None else PRESETS[row.preset]
    if row.walk == "round trip":
        autoencoder = latent.autoencoder
        with torch.no_grad():
            return autoencoder.decode(autoencoder.encode(tasks.truth))
    if row.walk == "pixel model":
        assert preset is not None
        return translate_tasks(tasks, pocket_models(), preset, seed)
    losses = [] if preset is None else _losses(preset, tasks)
    sigmas, texts = flow_sigmas(row.strength, STEPS), tasks.to if row.cfg else None
    if row.walk == "transport":
        target = latent.backbone(sigmas, texts, tasks.from_, row.cfg)
        return _transport(row, target, latent.backbone(sigmas, tasks.from_), tasks.source, losses, seed)
    backbone = latent.backbone(sigmas, texts, None, row.cfg or 1.0)
    if row.walk == "euler":
        return _euler(row, backbone, tasks.source, losses, seed)
    settings = SamplerSettings(
        steps=STEPS,
        skip=0,
        resample=row.resample,
        method=row.method,
        backward_until=1.0 if row.backward else 0.0,
    )
    *_, last = sample(backbone, tasks.source, losses, settings, seed, allow_unguided=True)
    return last.pred_xstart


def _losses(preset: Preset, tasks: Tasks) -> list[BoundLoss]:
    by_image = preset.kind == "image"
    to, from_ = (None, None) if by_image else (tasks.to, tasks.from_)
    return preset.build(pocket_models(), to, from_, tasks.style if by_image else None)


@torch.no_grad()
def _euler(
    row: Row, backbone: LatentDiffusion, source: Tensor, losses: Sequence[BoundLoss], seed: int
) -> Tensor:
    sigmas, x_0, rng = backbone.sigmas, backbone.encode(source), Seeded(seed, len(source))
    first = sigmas.values[0]
    x = sigmas.signal(first) * x_0 + first * rng.noise(x_0.shape)
    guidance = _prediction_guidance(row, backbone, source, losses, rng)
    for sigma, below in zip(sigmas.values, sigmas.values[1:], strict=False):
        prediction = guidance.guide(x, backbone.denoise(x, sigma), sigma).pred_xstart
        x = x + (below - sigma) * (x - prediction) / sigma
    return backbone.decode(x)


@torch.no_grad()
def _transport(
    row: Row,
    target: LatentDiffusion,
    source_model: LatentDiffusion,
    source: Tensor,
    losses: Sequence[BoundLoss],
    seed: int,
) -> Tensor:
    """Move the source's latent by the difference of two velocities, with the same noise in both."""
    sigmas, x_0, rng = target.sigmas, target.encode(source), Seeded(seed, len(source))
    guidance = _prediction_guidance(row, target, source, losses, rng) if losses else None
    x = x_0
    for sigma, below in zip(sigmas.values, sigmas.values[1:], strict=False):
        of_source = (1 - sigma) * x_0 + sigma * rng.noise(x_0.shape)
        of_target = x + of_source - x_0
        prediction = target.denoise(of_target, sigma)
        if guidance is not None:
            prediction = guidance.guide(of_target, prediction, sigma).pred_xstart
        before = source_model.denoise(of_source, sigma)
        velocity = ((of_target - prediction) - (of_source - before)) / sigma
        x = x + (below - sigma) * velocity + row.zeta * (before - prediction)
    return target.decode(x)


def _prediction_guidance(
    row: Row, backbone: LatentDiffusion, source: Tensor, losses: Sequence[BoundLoss], rng: Seeded
) -> PredictionGuidance:
    assert isinstance(row.method, MPGD)
    settings = PredictionSettings(method=row.method, guide_until=1.0)
    return PredictionGuidance(losses, source, backbone, settings, rng=rng)


def run_latent(
    n: int = 100,
    output: Path | None = None,
    *,
    rows: Sequence[Row] = ROWS,
    seeds: range = HELD_OUT,
    batch: int = BATCH,
    console: Console | None = None,
) -> dict[str, Any]:
    """Measure n translations per row, and print a table; with `output`, keep each row there as soon as it is done.

    A row that `output` has with the same settings, scenes, and n is not measured again.
    """
    if n < 1:
        raise InputError("n must be at least 1")
    console = console or Console()
    latent, judge, tasks = pocket_latent(), pocket_judge(), build_tasks(draw_specs(range(n), seeds))
    reference, floor = references(tasks, judge)
    where = "tuning" if seeds is TUNING else "held out"
    found: list[dict[str, Any]] = []
    shown: dict[str, Tensor] = {"source": tasks.source[:SHOWN]}
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        for row in rows:
            bar = progress.add_task(row.name, total=float(n))
            key = _key(row, n, where)
            kept = _kept(output, row, key)
            if kept is None:
                began, parts = time.process_time(), []
                for start in range(0, n, batch):
                    parts.append(translate(row, tasks[start : start + batch], latent, start).clamp(-1, 1))
                    progress.advance(bar, len(parts[-1]))
                pictures = torch.cat(parts)
                figures = {
                    "name": row.name,
                    "key": key,
                    **measure(pictures, tasks, judge, reference),
                    **floor,
                }
                figures |= _registration(pictures, tasks)
                figures["processor_seconds"] = round(time.process_time() - began, 1)
                kept = figures, pictures[:SHOWN]
                _keep(output, *kept)
            progress.update(bar, completed=n)
            found.append(kept[0])
            shown[row.name] = kept[1]
    report = {
        "n": n,
        "seeds": where,
        "rows": [{**one, "row": to_json(row)} for one, row in zip(found, rows, strict=True)],
    }
    text = markdown(report)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    if output is not None:
        save_report(output, "latent", report, text)
        save_sheet({**shown, "ground truth": tasks.truth[:SHOWN]}, output / "latent.png", scale=2)
        console.print(f"Saved {output}", markup=False, highlight=False, soft_wrap=True)
    return report


def _registration(pictures: Tensor, tasks: Tasks) -> dict[str, Any]:
    """Return the median shift in pixels of the results whose edges are found in the source, and how many are."""
    found = register(pictures, tasks.source)
    distances = found.distance[found.found]
    return {
        "registered": found.found.double().mean().item(),
        "shift_px": distances.median().item() if len(distances) else None,
        "shift_px_90": distances.quantile(0.9).item() if len(distances) else None,
    }


def markdown(report: dict[str, Any]) -> str:
    """Return the table of a report."""
    lines = [
        f"{report['n']} translations, {report['seeds']} seeds",
        "",
        "| row | style % | SSIM | edge F1 | MAE | Fréchet | registered % | shift px (90 %) | s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        low, high = row["style_success_ci"]
        shift = "-" if row["shift_px"] is None else f"{row['shift_px']:.2f} ({row['shift_px_90']:.2f})"
        frechet = "-" if row["frechet"] is None else f"{row['frechet']:.2f}"
        figures = " | ".join(with_interval(row, name) for name in ("ssim", "edge_f1", "mae"))
        lines.append(
            f"| {row['name']} | {100 * row['style_success']:.0f} ({100 * low:.0f} to {100 * high:.0f}) | {figures} "
            f"| {frechet} | {100 * row['registered']:.0f} | {shift} | {row['processor_seconds']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def _key(row: Row, n: int, seeds: str) -> str:
    preset = None if row.preset is None else to_json(PRESETS[row.preset])
    text = json.dumps([FORMAT, n, seeds, STEPS, to_json(row), preset], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _kept(output: Path | None, row: Row, key: str) -> tuple[dict[str, Any], Tensor] | None:
    """Return a row that was measured before, with its first images."""
    if output is None:
        return None
    figures, strip = output / "rows" / f"{row.name}.json", output / "rows" / f"{row.name}.png"
    if not (figures.exists() and strip.exists()):
        return None
    known = json.loads(figures.read_text())
    if known.get("key") != key:
        return None
    pictures = to_tensor(load_picture(strip))
    return known, torch.cat(pictures.split(pictures.shape[-2], dim=-1))


def _keep(output: Path | None, figures: dict[str, Any], pictures: Tensor) -> None:
    if output is None:
        return
    (output / "rows").mkdir(parents=True, exist_ok=True)
    save_picture(to_pil(torch.cat(list(pictures), -1)), output / "rows" / f"{figures['name']}.png")
    with atomic_path(output / "rows" / f"{figures['name']}.json") as path:
        path.write_text(json.dumps(figures, indent=1) + "\n")
