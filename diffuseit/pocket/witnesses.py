"""The pocket networks in the roles of those that measure photographs."""

from pathlib import Path

from ..evaluation.classes import Classifier
from ..evaluation.witnesses import Witnesses
from .judge import CLASSES
from .models import WEIGHTS, pocket_clip, pocket_judge, pocket_vit


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
