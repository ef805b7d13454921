"""The networks that measure: which there are on this machine, and which of them may be trusted."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ModelError
from ..images.recipe import sha256_of_network
from ..models.clip import CLIP
from ..models.hub.catalog import Entry, entry_named, find_model
from ..models.load import load_entry
from ..models.vit import ViT
from .classes import Classifier, load_deit
from .inception import load_inception
from .perception import LPIPS, Trunk, load_lpips

FeaturesOf = Callable[[Tensor], Tensor]
"""Features [N, D] of pictures [N, 3, H, W] in [-1, 1]."""

VIT = "dino-b8"
CLIPS = ("clip-l14", "siglip2-b16-256")
PERCEPTION: dict[str, Trunk] = {"lpips-alex": "alex", "lpips-squeeze": "squeeze", "lpips-vgg": "vgg"}
INCEPTION = "fid-inception"
CLASSIFIER = "deit-b-384"


@dataclass(frozen=True)
class Witnesses:
    """Networks that measure, by the role that each has. What is not there is not measured.

    `fid` and `sfid` return the features of FID and of FlexIT's SFID. `missing` are the rows of the catalog that would
    measure more, `broken` says of others in a line each why they cannot be used. `guides` are the names of those that
    guided the results, where that is known of all.
    """

    name: str
    vit: ViT | None = None
    clips: Mapping[str, CLIP] = field(default_factory=dict)
    lpips: Mapping[str, LPIPS] = field(default_factory=dict)
    fid: FeaturesOf | None = None
    sfid: FeaturesOf | None = None
    classifier: Classifier | None = None
    networks: Mapping[str, nn.Module] = field(default_factory=dict)
    missing: tuple[Entry, ...] = ()
    broken: tuple[str, ...] = ()
    guides: tuple[str, ...] = ()

    def to(self, device: torch.device) -> "Witnesses":
        """Move all networks to `device`, and return self."""
        for network in (*self.networks.values(), self.classifier):
            if network is not None:
                network.to(device)
        return self

    def checksums(self) -> dict[str, str]:
        """Return the SHA-256 of each network by its name."""
        return {name: sha256_of_network(network) for name, network in self.networks.items()}

    def how_to_get_more(self) -> str | None:
        """Return, in one line, the command for what is missing; None if nothing is."""
        if not self.missing:
            return None
        names = " ".join(entry.name for entry in self.missing)
        return f"{', '.join(entry.name for entry in self.missing)}: run `diffuseit models download {names}`"


def standard_witnesses(
    folder: str | os.PathLike[str] | None = None,
    *,
    text: bool = True,
    sets: bool = True,
    classes: bool = True,
) -> Witnesses:
    """Return the networks of the literature for photographs, as far as they are in the models folder.

    Nothing is downloaded. Structure and style: DINO ViT-B/8 (Splice, PIE-Bench); text: OpenAI's CLIP ViT-L/14
    (PIE-Bench) and SigLIP 2, neither of which guides in any bundle; LPIPS; FID's Inception; DeiT-B (FlexIT). Without
    `text`, `sets` and `classes` those are left out that only these need.
    """
    wanted = [VIT, *(CLIPS if text else ()), *PERCEPTION]
    return _loaded(wanted + ([INCEPTION] if sets else []) + ([CLASSIFIER] if classes else []), folder)


def required_witnesses(
    names: Sequence[str], what: str, folder: str | os.PathLike[str] | None = None
) -> Witnesses:
    """Return the networks with these names in the catalog. `what` needs all of them.

    Nothing is downloaded. Raise `ModelError` with the command for those that are not in the models folder, and for one
    that cannot be used.
    """
    missing = [name for name in names if find_model(entry_named(name), folder) is None]
    if missing:
        listed = " ".join(missing)
        raise ModelError(f"{what} needs {', '.join(missing)}: run `diffuseit models download {listed}`")
    found = _loaded(names, folder)
    if found.broken:
        raise ModelError(found.broken[0])
    return found


def _loaded(names: Sequence[str], folder: str | os.PathLike[str] | None) -> Witnesses:
    here: dict[str, Any] = {}
    missing, broken = [], []
    for entry in map(entry_named, names):
        path = find_model(entry, folder)
        if path is None:
            missing.append(entry)
            continue
        try:
            here[entry.name] = _load(entry, path)
        except ModelError as error:
            broken.append(str(error))
    inception = here.get(INCEPTION)
    classifier = here.get(CLASSIFIER)
    return Witnesses(
        "standard",
        vit=here.get(VIT),
        clips={name: here[name] for name in CLIPS if name in here},
        lpips={trunk: here[name] for name, trunk in PERCEPTION.items() if name in here},
        fid=inception,
        sfid=None if inception is None else inception.flexit_features,
        classifier=classifier,
        networks=here,
        missing=tuple(missing),
        broken=tuple(broken),
    )


def _load(entry: Entry, path: Path) -> nn.Module:
    if entry.name in PERCEPTION:
        return load_lpips(PERCEPTION[entry.name], path)
    if entry.name == INCEPTION:
        return load_inception(path)
    if entry.name == CLASSIFIER:
        return load_deit(path)
    return load_entry(entry, path)
