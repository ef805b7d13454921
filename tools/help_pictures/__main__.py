"""Draw the pictures of the help pages, which show what the main settings do.

    python -m tools.help_pictures [-o FOLDER] [--only NAME]

writes `FOLDER/<node>/<setting>.png`, by default in `web/docs` of this checkout. It takes some minutes on a CPU.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from diffuseit.evaluation.measure import Wanted
from diffuseit.evaluation.verdict import verdict
from diffuseit.images.color import match_colors_batch
from diffuseit.images.io import save_picture
from diffuseit.images.sheet import captioned
from diffuseit.losses import (
    ColorStatisticsLoss,
    ImageStyleLoss,
    RangeLoss,
    SemanticDivergenceLoss,
    SourceAnchorLoss,
    StructureLoss,
    TextStyleLoss,
)
from diffuseit.losses.schedule import ramp
from diffuseit.methods import MPGD
from diffuseit.pocket.benchmark.latent import Row
from diffuseit.pocket.benchmark.tasks import Spec, build_tasks
from diffuseit.pocket.witnesses import pocket_witnesses
from diffuseit.pocket.world.render import SEGMENTS, STYLES, render, sample_geometry, segment
from diffuseit.presets import PRESETS, at_strength
from diffuseit.shards import Shard
from tools.help_pictures.film import averaged, filmed
from tools.help_pictures.full_size import enlarged
from tools.help_pictures.latent import Rows, painted
from tools.help_pictures.marks import changes_of, sources_of
from tools.help_pictures.networks import crops_of, facets_of, keys_of_layers, similar_to
from tools.help_pictures.settings import (
    IMAGE,
    SEEDS,
    TEXT,
    BestFirst,
    Precisions,
    Setting,
    Tiles,
    Ways,
    changed,
    scene,
    scheduled,
    translated,
    with_only,
)

_BEHIND = ("background", "floor")
DOCS = Path(__file__).resolve().parents[2] / "web" / "docs"


def _foreground(domain: str, seed: int) -> Tensor:
    """Return a mask [1, 1, 64, 64] of the animal."""
    behind = torch.tensor([SEGMENTS[domain].index(name) for name in _BEHIND])
    return (~torch.isin(segment(sample_geometry(domain, [seed])), behind)).float().unsqueeze(1)


def _shown(mask: Tensor) -> Tensor:
    return (2 * mask - 1).expand(-1, 3, -1, -1)


def _mask(spec: Spec) -> Tiles:
    """Return a translation without and with a mask that protects the background."""
    tasks, mask = build_tasks([spec]), _foreground(spec.domain, spec.seed)
    return {
        "source": tasks.source,
        "mask": _shown(mask),
        "without mask": translated(TEXT, tasks),
        "with mask": translated(TEXT, tasks, mask=mask),
    }


def _colors(spec: Spec) -> Tiles:
    tasks = build_tasks([spec])
    matched = match_colors_batch(tasks.source, tasks.style)
    strengths = {f"strength {s:g}": torch.lerp(tasks.source, matched, s) for s in (0.0, 0.5, 1.0)}
    return {"reference": tasks.style, **strengths}


def _examples() -> Tiles:
    tiles: Tiles = {}
    for domain, style in (("landscape", "summer"), ("landscape", "winter"), ("animal", "lion")):
        name = f"{style} landscape" if domain == "landscape" else style
        tiles[name] = render(sample_geometry(domain, [SEEDS]), [STYLES[domain].index(style)], [SEEDS])
    tiles["mask: foreground"] = _shown(_foreground("animal", SEEDS))
    return tiles


def _parts(count: int, of: int, first: int) -> Tiles:
    """Return the images of a batch under the parts that they belong to, and their seeds."""
    geometry = sample_geometry("landscape", range(SEEDS, SEEDS + count))
    pictures = render(geometry, [STYLES["landscape"].index("autumn")] * count, range(count))
    return {
        f"index {part}, seed {first + number}": pictures[number : number + 1]
        for part in range(of)
        for number in Shard(part + 1, of).stretch(count)
    }


def _evaluated(spec: Spec) -> Tiles:
    """Return a source, and three results under what the node says of them."""
    tasks, networks = build_tasks([spec]), pocket_witnesses()
    result = translated(TEXT, tasks)
    moved = torch.nn.functional.pad(result, (4, 0, 0, 0), mode="replicate")[..., : result.shape[-1]]
    tiles = {"source": tasks.source}
    for picture in (result, moved, tasks.floor):
        found = verdict(picture, tasks.source, Wanted(), networks)
        tiles[f"moved by {found.shift:.1f} px" if "moved" in found.findings else found.summary()] = picture
    return tiles


_WINTER = scene("landscape", "summer", "winter", 0)
_NIGHT = scene("landscape", "autumn", "night", 1)
_LEOPARD = scene("animal", "lion", "leopard", 2)
_BLUE_WALL = scene("animal", "lion", "leopard", 7)
_ZEBRA = scene("animal", "lion", "zebra", 12)
_DESERT = scene("landscape", "night", "desert", 4)


def _moved(walk: Literal["loop", "euler"] = "euler", resample: int = 1, **method: Any) -> Row:
    """Return a row in which prompt and losses guide the latent pocket model."""
    steps = MPGD(step_rule="normalized", **({"symmetric": True, "eta": 0.0} | method))
    return Row("", walk, strength=0.75, cfg=2.0, preset="latent-text", resample=resample, method=steps)


_PROMPT_ALONE = Row("", strength=0.75, cfg=2.0, resample=1, method=MPGD(eta=0.0))

PICTURES: dict[str, Callable[[], Tiles]] = {
    "DiffuseITSampler/skip": Setting(TEXT, None, "skip", 3, 17, _NIGHT),
    "DiffuseITSampler/step_size": Setting(TEXT, None, "step_size", 0.02, 2, _NIGHT),
    "DiffuseITStartOptions/start_color": Ways(
        scene("landscape", "winter", "night", 6),
        {
            f"start_color {share:g}": changed(TEXT, None, {"start_color": share, "resample": 4})
            for share in (1.0, 0.5, 0.0)
        },
    ),
    "DiffuseITTranslate/strength": Ways(
        scene("landscape", "summer", "night", 3),
        {f"strength {strength:g}": at_strength(TEXT, strength) for strength in (0.0, 0.25, 0.5, 1.0)},
    ),
    "DiffuseITSampler/mask": partial(_mask, _LEOPARD),
    "DiffuseITGuidanceOptions/guide_until": Ways(
        _NIGHT,
        {f"guide_until {end:g}": changed(TEXT, None, {"guide_until": end}) for end in (1.0, 0.5, 0.2)},
    ),
    "DiffuseITMethodOptions/inner_steps": Ways(
        _ZEBRA,
        {
            f"mpgd, inner_steps {count}": changed(
                TEXT, None, {"method": MPGD(step_rule="normalized"), "inner_steps": count, "step_size": 0.5}
            )
            for count in (0, 1, 4)
        },
    ),
    "DiffuseITStructureLoss/contrastive": Setting(TEXT, StructureLoss, "contrastive", 0, 5, _WINTER),
    "DiffuseITTextStyleLoss/weight": Setting(TEXT, TextStyleLoss, "weight", 0.2, 40, _NIGHT),
    "DiffuseITImageStyleLoss/cls_token": Setting(
        IMAGE, ImageStyleLoss, "cls", 0.05, 40, _NIGHT, name="cls_token"
    ),
    "DiffuseITSemanticDivergenceLoss/weight": Setting(TEXT, SemanticDivergenceLoss, "weight", 0, 1, _NIGHT),
    "DiffuseITRangeLoss/weight": Setting(TEXT, RangeLoss, "weight", 0, 20, _WINTER, sampler={"step_size": 2}),
    "DiffuseITSourceAnchorLoss/weight": Setting(TEXT, SourceAnchorLoss, "weight", 0, 5, _BLUE_WALL),
    "DiffuseITColorStatisticsLoss/mean": Setting(IMAGE, ColorStatisticsLoss, "mean", 0, 5, _DESERT),
    "DiffuseITLossSchedule/weight_before": Ways(
        _ZEBRA,
        {
            "structure: whole run": scheduled(TEXT, StructureLoss, ((0.0, 1.0),)),
            "fading in": scheduled(TEXT, StructureLoss, ramp(0, 1, 0, 1)),
            "first half only": scheduled(TEXT, StructureLoss, ramp(1, 0, 0.5, 0.5)),
            "last half only": scheduled(TEXT, StructureLoss, ramp(0, 1, 0.5, 0.5)),
        },
    ),
    "DiffuseITCombineLosses/inputs": Ways(
        _ZEBRA,
        {
            "text style alone": with_only(TEXT, TextStyleLoss),
            "structure alone": with_only(TEXT, StructureLoss),
            "both": with_only(TEXT, TextStyleLoss, StructureLoss),
        },
    ),
    "DiffuseITPreset/preset": Ways(
        scene("landscape", "desert", "night", 16),
        {name: PRESETS[name] for name in ("pocket-text", "fast-text", "best-text")},
    ),
    "DiffuseITVariations/count": BestFirst(TEXT, _NIGHT, 4),
    "DiffuseITLoadDDPM/dtype": Precisions(TEXT, _LEOPARD),
    "DiffuseITLoadViT/layer": partial(keys_of_layers, _ZEBRA, (0, -1)),
    "DiffuseITLoadCLIP/model": partial(crops_of, _NIGHT, 5, 1),
    "DiffuseITPartOfBatch/index": partial(_parts, count=6, of=3, first=40),
    "DiffuseITMatchColors/strength": partial(_colors, scene("landscape", "summer", "sunset", 0)),
    "DiffuseITEvaluate/image": partial(_evaluated, scene("landscape", "autumn", "winter", 23)),
    "DiffuseITFullSize/detail": partial(
        enlarged, scene("landscape", "summer", "winter", 24), left=14, top=86
    ),
    "DiffuseITFullSize/image": partial(enlarged, scene("animal", "lion", "leopard", 25), left=54, top=56),
    "DiffuseITSaveSignedImage/sign": partial(changes_of, scene("landscape", "summer", "winter", 26)),
    "DiffuseITVerify/source_file": partial(sources_of, scene("landscape", "summer", "sunset", 27)),
    "DiffuseITKeyPCA/facet": partial(facets_of, _WINTER),
    "DiffuseITSelfSimilarity/y": partial(
        similar_to, _WINTER, {f"y {y:g}": (0.5, y) for y in (0.1, 0.5, 0.9)}
    ),
    "DiffuseITCorrespondences/consensus": partial(filmed, scene("landscape", "summer", "winter", 26)),
    "DiffuseITConsensus/image": partial(averaged, scene("landscape", "summer", "winter", 26)),
    "DiffuseITExamplePicture/picture": _examples,
    "DiffuseITPocketText/text": partial(
        painted, ("summer landscape", "night landscape", "desert landscape", "zebra"), 3
    ),
    "DiffuseITGuideModel/step_size": Rows(
        scene("landscape", "summer", "sunset", 20),
        {"prompt alone": _PROMPT_ALONE}
        | {f"step_size {size:g}": _moved(step_size=size) for size in (1, 2, 10)},
    ),
    "DiffuseITLatentSampler/resample": Rows(
        scene("landscape", "summer", "autumn", 21),
        {f"resample {visits}": _moved("loop", visits, symmetric=False, eta=1.0) for visits in (1, 4, 16)},
    ),
    "DiffuseITModelGuidanceOptions/noise": Rows(
        scene("animal", "lion", "tiger", 22),
        {"noise follows": _moved(), "noise stays": _moved(symmetric=False)},
    ),
}
"""How to draw each picture, by node and input."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=DOCS, help="the folder of the help pages")
    parser.add_argument("--only", metavar="NAME", help="part of a name, as in 'Sampler/skip'")
    options = parser.parse_args()
    for name, draw in PICTURES.items():
        if options.only is None or options.only in name:
            save_picture(captioned(draw(), per_row=2), options.output / f"{name}.png")
            print(name, flush=True)


if __name__ == "__main__":
    main()
