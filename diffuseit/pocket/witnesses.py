"""The pocket networks in the roles of those that measure photographs."""

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from ..evaluation.classes import Classifier
from ..evaluation.measure import Wanted, style_of
from ..evaluation.verdict import Verdict, verdict
from ..evaluation.witnesses import Witnesses
from ..models.clip import CLIP
from ..models.vit import ViT
from .judge import CLASSES, Judge
from .models import WEIGHTS, pocket_clip, pocket_judge, pocket_vit
from .world.canvas import SIZE
from .world.captions import style_named
from .world.render import STYLES

POCKET_SIZE = (SIZE, SIZE)
"""Pictures of this (height, width) are measured by the pocket networks."""


def pocket_witnesses(folder: Path = WEIGHTS) -> Witnesses:
    """Return them. The ViT and the CLIP also guide; the judge does not."""
    vit, clip, judge = pocket_vit(folder), pocket_clip(folder).models[0], pocket_judge(folder)
    return Witnesses(
        "pocket",
        vit=vit,
        clips={"pocket": clip},
        fid=judge.features,
        sfid=judge.features,
        classifier=_classifier(judge),
        networks={"pocket ViT": vit, "pocket CLIP": clip, "pocket judge": judge},
    )


def pocket_target(witnesses: Witnesses, to: str | None, style: Tensor | None = None) -> int | None:
    """Return the judge's class of a text, or of a style picture [1, 3, 64, 64] in [-1, 1]; None if there is none."""
    if to is not None:
        named = style_named(to)
        return None if named is None else CLASSES.index((named[0], STYLES[named[0]][named[1]]))
    if style is None or witnesses.classifier is None or style.shape[-2:] != POCKET_SIZE:
        return None
    return int(witnesses.classifier(style).argmax())


@torch.no_grad()
def verdicts_on_run(
    results: Tensor,
    sources: Tensor,
    *,
    vit: ViT | None = None,
    clips: Iterable[CLIP] = (),
    to: str | Sequence[str] | None = None,
    from_: str | Sequence[str] | None = None,
    style: Tensor | None = None,
) -> list[Verdict]:
    """Return the verdict on each result of a run, by the networks that guided it and are at hand where they are.

    Results and sources are [B, 3, H, W] in [-1, 1], a style picture is [1 or B, 3, h, w]. Texts are for all results or
    one for each. For pictures of `POCKET_SIZE` the judge, which guides nothing, tells whether the target is reached.
    """
    named = {clip.name: clip for clip in clips}
    networks = [network for network in (vit, *named.values()) if network is not None]
    device = networks[0].mean.device if networks else torch.device("cpu")
    small = tuple(results.shape[-2:]) == POCKET_SIZE
    classifier = _judge_on(device) if small else None
    witnesses = Witnesses(
        "at hand",
        vit=vit,
        clips=named,
        classifier=classifier,
        networks={} if classifier is None else {"pocket judge": classifier},
        guides=tuple(named),
    )
    found = []
    for number, result in enumerate(results.to(device).split(1)):
        look = None if style is None else style[number % len(style)][None].to(device)
        text = _of(to, number)
        wanted = Wanted(
            text,
            _of(from_, number),
            None if look is None or vit is None else style_of([look], witnesses),
            target=pocket_target(witnesses, text, look),
        )
        found.append(verdict(result, sources[number % len(sources)][None].to(device), wanted, witnesses))
    return found


@cache
def _judge_on(device: torch.device) -> Classifier:
    return _classifier(pocket_judge()).to(device)


def _classifier(judge: Judge) -> Classifier:
    return Classifier(judge, [style for _, style in CLASSES])


def _of(texts: str | Sequence[str] | None, number: int) -> str | None:
    return texts if texts is None or isinstance(texts, str) else texts[number]
