"""Pictures of what the networks see."""

from collections.abc import Mapping

from torch import Tensor

from diffuseit.guidance.rng import Seeded
from diffuseit.inspection.facets import PATCH_FACETS, PatchFacet, enlarged, patch_features
from diffuseit.inspection.pca import principal_colors
from diffuseit.inspection.similarity import point_similarity, similarity_colors
from diffuseit.models.crops import apply_crops
from diffuseit.pocket.benchmark.tasks import Spec, build_tasks
from diffuseit.pocket.models import pocket_vit
from diffuseit.pocket.world.render import STYLES, render, sample_geometry
from tools.help_pictures.settings import Tiles, models


def key_colors(pictures: Tensor, layer: int, facet: PatchFacet = "key") -> list[Tensor]:
    """Return a facet of a layer of the pocket ViT as colors, [3, H, W] in [-1, 1] for each image [B, 3, H, W]."""
    features = patch_features(pocket_vit(), pictures, layer, facet)
    colors, _ = principal_colors(list(features))
    return [enlarged(one, (pictures.shape[-2], pictures.shape[-1])) for one in colors]


def facets_of(scene: Spec) -> Tiles:
    """Return a scene, and each facet of the last layer as colors."""
    source = build_tasks([scene]).source
    return {"source": source} | {facet: key_colors(source, -1, facet)[0][None] for facet in PATCH_FACETS}


def similar_to(scene: Spec, points: Mapping[str, tuple[float, float]]) -> Tiles:
    """Return a scene, and how similar everything in it is to what is at each point, by the name of the point."""
    source = build_tasks([scene]).source
    (features,) = patch_features(pocket_vit(), source, -1, "key")
    maps = [similarity_colors([point_similarity(features, point)], point)[0] for point in points.values()]
    size = (source.shape[-2], source.shape[-1])
    return {"source": source} | {
        name: enlarged(one, size)[None] for name, one in zip(points, maps, strict=True)
    }


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
