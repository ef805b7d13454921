"""The pocket networks in the roles of those that measure photographs."""

from pathlib import Path

from torch import Tensor

from ..evaluation.classes import Classifier
from ..evaluation.witnesses import Witnesses
from .judge import CLASSES
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
        classifier=Classifier(judge, [style for _, style in CLASSES]),
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
