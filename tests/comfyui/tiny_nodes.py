"""The tiny models as nodes, for graphs of a real server (`inside.give_nodes`)."""

import torch
from comfyui.tiny_kinds import KINDS
from comfyui.tiny_models import Tiny, missing, tiny


class TinyModel:
    """All that a graph needs to sample one kind: what the loaders, text encoders, and empty latents give."""

    CATEGORY = "tests"
    FUNCTION = "build"
    RETURN_TYPES = ("MODEL", "VAE", "CONDITIONING", "CONDITIONING", "LATENT")
    RETURN_NAMES = Tiny._fields

    @classmethod
    def INPUT_TYPES(cls) -> dict:  # noqa: N802
        """The kinds that this ComfyUI knows."""
        return {
            "required": {
                "kind": ([kind for kind in KINDS if not missing(kind)],),
                "batch": ("INT", {"default": 1, "min": 1}),
            }
        }

    def build(self, kind: str, batch: int) -> Tiny:
        """The outputs."""
        return tiny(kind, batch)


class PanFlow:
    """The flow of a camera that goes to the side: each pixel moves by `x`."""

    CATEGORY = "tests"
    FUNCTION = "build"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict:  # noqa: N802
        """The images whose flow it is."""
        return {"required": {"image": ("IMAGE",), "x": ("FLOAT", {"default": 0.0, "min": -99.0})}}

    def build(self, image: torch.Tensor, x: float) -> tuple[torch.Tensor]:
        """The flow."""
        flow = torch.zeros_like(image)
        flow[..., 0] = x
        return (flow,)


NODE_CLASS_MAPPINGS = {"TinyModel": TinyModel, "PanFlow": PanFlow}
