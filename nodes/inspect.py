"""Nodes that show what a vision transformer sees."""

from typing import TYPE_CHECKING

import torch
from comfy_api.latest import io
from torch import Tensor

from .comfy import devices, events
from .images import to_comfy, to_core
from .inputs import checked
from .types import CATEGORY, VIT, Network

if TYPE_CHECKING:
    from ..diffuseit.inspection.facets import PatchFacet

MENU = f"{CATEGORY}/inspect"
FACETS = ("key", "query", "value", "token")
"""Those of `diffuseit.inspection.facets`, which brings timm."""

LAST_LAYER = -1


def _image() -> io.Image.Input:
    return io.Image.Input("image", tooltip="The images to look at: one, or a batch, of any size.")


def _vit() -> VIT.Input:
    return VIT.Input("vit", tooltip="From DiffuseIT Load ViT or DiffuseIT Load Models.")


def _layer() -> io.Int.Input:
    return io.Int.Input(
        "layer",
        default=LAST_LAYER,
        min=-64,
        max=63,
        tooltip="The layer to look into; -1 is the last. Up: parts of things. Down: colors, textures, exact places. It "
        "does not depend on the layer of DiffuseIT Load ViT.",
    )


def _facet() -> io.Combo.Input:
    return io.Combo.Input(
        "facet",
        options=list(FACETS),
        default=FACETS[0],
        tooltip="Which features of the layer. key: what the structure loss compares. query, value: the other two "
        "projections of attention. token: what the layer hands to the next.",
    )


class KeyPCA(io.ComfyNode):
    """Shows the features of a layer as colors."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffuseITKeyPCA",
            display_name="DiffuseIT Key PCA",
            category=MENU,
            description="Shows what the vision transformer sees: the features of a layer as colors. What has the same "
            "color is alike to it, also across the images of a batch.",
            search_aliases=["PCA", "features", "DINO", "visualize", "principal components", "keys"],
            inputs=[_vit(), _image(), _layer(), _facet()],
            outputs=[
                io.Image.Output(
                    display_name="image",
                    tooltip="Images of the same size. Red, green, and blue are the first three principal components "
                    "of the features of all images.",
                )
            ],
        )

    @classmethod
    @checked
    def execute(cls, vit: Network, image: Tensor, layer: int, facet: "PatchFacet") -> io.NodeOutput:
        from ..diffuseit.inspection.facets import enlarged
        from ..diffuseit.inspection.pca import principal_colors

        pictures = to_core(image)
        with devices.gradients():
            features = _features(vit, pictures, layer, facet)
            colors, _ = principal_colors(list(features))
            found = torch.stack([enlarged(one, _size(pictures)) for one in colors])
        return io.NodeOutput(devices.to_output(to_comfy(found)))


class SelfSimilarity(io.ComfyNode):
    """Shows how similar everything in an image is to what is at a point."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffuseITSelfSimilarity",
            display_name="DiffuseIT Self-Similarity",
            category=MENU,
            description="Shows how similar everything in an image is to what is at a point, as the vision transformer "
            "sees it. The structure loss keeps these similarities.",
            search_aliases=["similarity map", "features", "DINO", "visualize", "correspondence", "heat map"],
            inputs=[
                _vit(),
                _image(),
                io.Float.Input(
                    "x",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Where the point is, across. 0: the left edge. 1: the right edge.",
                ),
                io.Float.Input(
                    "y",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Where the point is, down. 0: the top edge. 1: the bottom edge.",
                ),
                _layer(),
                _facet(),
            ],
            outputs=[
                io.Image.Output(
                    display_name="image",
                    tooltip="Maps of the same size: yellow is as similar as can be, dark blue the least similar of all "
                    "images. The point is red.",
                )
            ],
        )

    @classmethod
    @checked
    def execute(
        cls, vit: Network, image: Tensor, x: float, y: float, layer: int, facet: "PatchFacet"
    ) -> io.NodeOutput:
        from ..diffuseit.inspection.facets import enlarged
        from ..diffuseit.inspection.similarity import point_similarity, similarity_colors

        pictures, point = to_core(image), (float(x), float(y))
        with devices.gradients():
            features = _features(vit, pictures, layer, facet)
            maps = similarity_colors([point_similarity(one, point) for one in features], point)
            found = torch.stack([enlarged(one, _size(pictures)) for one in maps])
        return io.NodeOutput(devices.to_output(to_comfy(found)))


def _features(vit: Network, pictures: Tensor, layer: int, facet: "PatchFacet") -> Tensor:
    from ..diffuseit.inspection.facets import patch_features

    devices.load([vit], 0)
    bar = events.Progress(len(pictures))
    return patch_features(vit.module, pictures, layer, facet, on_pictures=bar.update)


def _size(pictures: Tensor) -> tuple[int, int]:
    return pictures.shape[-2], pictures.shape[-1]


NODES = [KeyPCA, SelfSimilarity]
