"""Pictures of what the networks see."""

import torch
import torch.nn.functional as F
from torch import Tensor

from diffuseit.guidance.rng import Seeded
from diffuseit.models.crops import apply_crops
from diffuseit.models.vit import load_vit
from diffuseit.pocket.benchmark.tasks import Spec, build_tasks
from diffuseit.pocket.models import WEIGHTS
from diffuseit.pocket.world.render import STYLES, render, sample_geometry
from tools.help_pictures.settings import Tiles, models


def key_colors(pictures: Tensor, layer: int) -> Tensor:
    """Return the keys of a layer of the pocket ViT as colors, for and as images [B, 3, H, W] in [-1, 1].

    Red, green, and blue are the first three principal components of the keys of all patches of all images, each scaled
    to its whole range. Similar patches get similar colors, also across images.
    """
    vit = load_vit(WEIGHTS / "vit.safetensors", layer=layer)
    rows, columns = vit.grid((pictures.shape[-2], pictures.shape[-1]))
    with torch.no_grad():
        keys = vit(pictures).keys[:, -rows * columns :].flatten(0, 1).double()
    keys = keys - keys.mean(dim=0)
    directions = torch.linalg.eigh(keys.mT @ keys).eigenvectors[:, -3:].flip(1)
    strongest = directions.gather(0, directions.abs().argmax(dim=0, keepdim=True))
    colors = keys @ (directions * strongest.sign())
    low, high = colors.aminmax(dim=0)
    colors = 2 * (colors - low) / (high - low) - 1
    plane = colors.view(len(pictures), rows, columns, 3).permute(0, 3, 1, 2).float()
    return F.interpolate(plane, pictures.shape[-2:], mode="nearest")


def keys_of_layers(scene: Spec, layers: tuple[int, ...]) -> Tiles:
    """Return a scene in its source and its target style, and for both the keys of each layer as colors."""
    geometry = sample_geometry(scene.domain, [scene.seed] * 2)
    pictures = render(geometry, [scene.source, scene.target], [scene.seed] * 2)
    names = [STYLES[scene.domain][style] for style in (scene.source, scene.target)]
    tiles = {name: picture[None] for name, picture in zip(names, pictures, strict=True)}
    for layer in layers:
        for name, picture in zip(names, key_colors(pictures, layer), strict=True):
            tiles[f"layer {layer}, {name}"] = picture[None]
    return tiles


def crops_of(scene: Spec, count: int, seed: int) -> Tiles:
    """Return the source of a scene and random crops of it, as the pocket CLIP gets them.

    The name of a crop is its rotation, counterclockwise, and its side relative to that of the source.
    """
    source = build_tasks([scene]).source
    (clip,) = models().clip
    crops = Seeded(seed, 1).crops(count, (source.shape[-2], source.shape[-1]))
    tiles = {"source": source}
    for place, picture in enumerate(apply_crops(0.5 * source + 0.5, crops, clip.image_size)):
        side = 100 * (crops.width[0, place] * crops.height[0, place]).sqrt() / source.shape[-1]
        mirrored = ", mirrored" if crops.flip[0, place] else ""
        tiles[f"{crops.angle[0, place]:+.0f}°, {side:.0f} %{mirrored}"] = 2 * picture[None] - 1
    return tiles
