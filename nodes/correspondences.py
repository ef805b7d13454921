"""The option node that holds the images of a batch together: the frames of a film, or views of a scene."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..diffuseit.correspondence import Correspondence, from_flow, from_geometry, link_estimated, scene_cuts
from ..diffuseit.errors import InputError, ModelError
from ..diffuseit.film import FilmSettings
from ..diffuseit.schema import bounds_of
from .comfy.devices import gradients
from .comfy.events import show_text
from .comfy.flow import flow_of
from .images import to_core
from .inputs import checked
from .options import MENU, options_output, previous_input
from .types import DA3_GEOMETRY, OPTICAL_FLOW, Film, Options

DEFAULTS = FilmSettings()


class Correspondences(io.ComfyNode):
    """Finds where the pixels of each image of a batch lie in the images beside it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        bounds = {name: bounds_of(FilmSettings, name) for name in ("during", "consensus", "reach", "window")}
        return io.Schema(
            node_id="DiffuseITCorrespondences",
            display_name="DiffuseIT Correspondences",
            category=MENU,
            description="Holds the images of a batch together, as frames of a film or views of a scene: finds where "
            "the pixels of each image lie in the images beside it. The sampler then translates them so that these "
            "pixels agree. It works with DiffuseIT Guide Model and DiffuseIT Latent Sampler too.",
            search_aliases=[
                "film",
                "video",
                "temporal consistency",
                "flicker",
                "optical flow",
                "multi-view",
                "sampler options",
            ],
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip="The images that go to the sampler too, in their order: the frames of a film, or views "
                    "along a path.",
                ),
                io.Float.Input(
                    "during",
                    default=DEFAULTS.during,
                    min=bounds["during"].low,
                    max=bounds["during"].high,
                    step=0.05,
                    round=0.001,
                    tooltip="How far the images agree in each step. Up: less flicker, and details that hold. 0: off.",
                ),
                io.Float.Input(
                    "consensus",
                    default=DEFAULTS.consensus,
                    min=bounds["consensus"].low,
                    max=bounds["consensus"].high,
                    step=0.05,
                    round=0.001,
                    tooltip="How far the finished images are averaged along what moves. Up: less flicker, softer. "
                    "0: off.",
                ),
                io.Int.Input(
                    "reach",
                    default=DEFAULTS.reach,
                    min=int(bounds["reach"].low),
                    max=int(bounds["reach"].high),
                    tooltip="How many images before and after an image count. Up: steadier over a longer time, "
                    "softer.",
                ),
                io.Int.Input(
                    "window",
                    default=DEFAULTS.window,
                    min=int(bounds["window"].low),
                    max=int(bounds["window"].high),
                    tooltip="How many images are translated together. Up: more memory, hardly another result. It does "
                    "not count for latents, whose batch is sampled as a whole.",
                ),
                OPTICAL_FLOW.Input(
                    "optical_flow",
                    optional=True,
                    tooltip="From Load Optical Flow Model. Without it, OpenCV finds the flow (the package "
                    "opencv-python-headless).",
                ),
                io.Image.Input(
                    "flow_forward",
                    optional=True,
                    tooltip="The flow itself, from DiffuseIT Load Flow: how many pixels each pixel moves to the next "
                    "image, to the right (red) and down (green). Needs flow_backward too.",
                ),
                io.Image.Input(
                    "flow_backward",
                    optional=True,
                    tooltip="How many pixels each pixel moves to the image before it, from the second image on, to "
                    "the right (red) and down (green).",
                ),
                DA3_GEOMETRY.Input(
                    "geometry",
                    optional=True,
                    tooltip="From Depth Anything 3 in multi-view mode: depth and cameras of the images, in place of "
                    "optical flow.",
                ),
                previous_input(),
            ],
            outputs=options_output(),
        )

    @classmethod
    @checked
    def execute(
        cls,
        image: Tensor,
        during: float,
        consensus: float,
        reach: int,
        window: int,
        optical_flow: Any | None = None,
        flow_forward: Tensor | None = None,
        flow_backward: Tensor | None = None,
        geometry: Mapping[str, Any] | None = None,
        previous: Options | None = None,
    ) -> io.NodeOutput:
        settings = FilmSettings(during=during, consensus=consensus, reach=reach, window=window)
        given = {
            "optical_flow": optical_flow is not None,
            "flow_forward": flow_forward is not None or flow_backward is not None,
            "geometry": geometry is not None,
        }
        if len(sources := [name for name, there in given.items() if there]) > 1:
            raise InputError(f"{sources[0]} and {sources[1]} are both connected: connect one of them")
        with gradients():
            images = to_core(image)
            if len(images) < 2:
                raise InputError("image: there is one image, which nothing has to agree with: give a batch")
            if geometry is not None:
                found = geometry_of(geometry, images)
            elif flow_forward is not None or flow_backward is not None:
                found = from_flow(
                    given_flow(flow_forward, "flow_forward", images),
                    given_flow(flow_backward, "flow_backward", images),
                )
            elif optical_flow is not None:
                found = link_estimated(images, partial(flow_of, optical_flow))
            else:
                found = estimated(images)
        if cuts := scene_cuts(found):
            listed = ", ".join(str(cut) for cut in cuts[:10]) + (", ..." if cuts[10:] else "")
            show_text(f"New scenes begin at image {listed} (counted from 0): nothing holds across the cuts")
        before = Options() if previous is None else previous
        return io.NodeOutput(replace(before, film=Film(found, settings)))


def estimated(images: Tensor) -> Correspondence:
    """Return the correspondences by OpenCV's flow. Raise `InputError` without OpenCV."""
    try:
        return link_estimated(images)
    except ModelError:
        raise InputError(
            "optical flow needs OpenCV: install the package opencv-python-headless in ComfyUI's Python, or connect "
            "Load Optical Flow Model to optical_flow"
        ) from None


def given_flow(image: Tensor | None, name: str, images: Tensor) -> Tensor:
    """Return an IMAGE with flow as [N - 1, 2, H, W] in pixels. A last image, which leads nowhere, is left out.

    Raise `InputError` if there is none, or if it does not fit the images [N, 3, H, W].
    """
    if image is None:
        raise InputError(f"{name} is not connected: give the flow in both directions, or neither")
    count, (height, width) = len(images), images.shape[-2:]
    if not isinstance(image, Tensor) or image.ndim != 4 or image.shape[-1] < 2:
        raise InputError(f"{name} is no batch of images with red and green")
    if len(image) not in (count - 1, count) or image.shape[1:3] != (height, width):
        raise InputError(
            f"{name} has {len(image)} images of {image.shape[2]}x{image.shape[1]} pixels: give {count - 1} of "
            f"{width}x{height}"
        )
    # With as many as there are images, the first one leads forward, and the first one does not lead back.
    own = image[1:] if len(image) == count and name == "flow_backward" else image[: count - 1]
    return own[..., :2].detach().to("cpu", torch.float32, copy=True).movedim(-1, 1).contiguous()


def geometry_of(geometry: Mapping[str, Any], images: Tensor) -> Correspondence:
    """Return the correspondences by a DA3_GEOMETRY. Raise `InputError` if it lacks cameras, or is of other images."""
    depth, extrinsics, intrinsics = (geometry.get(name) for name in ("depth", "extrinsics", "intrinsics"))
    if depth is None or extrinsics is None or intrinsics is None:
        raise InputError("geometry has no cameras: set the mode of Depth Anything 3 to multiview")
    count, (height, width) = len(images), images.shape[-2:]
    if tuple(depth.shape) != (count, height, width):
        raise InputError(
            f"geometry has {len(depth)} depth maps of {depth.shape[-1]}x{depth.shape[-2]} pixels: make it from the "
            f"{count} images of {width}x{height}"
        )
    own = [
        value.detach().to("cpu", torch.float32, copy=True) for value in (depth, extrinsics[0], intrinsics[0])
    ]
    return from_geometry(own[0], scaled_to((height, width), own[2]), own[1])


def scaled_to(size: tuple[int, int], intrinsics: Tensor) -> Tensor:
    """Return intrinsics [N, 3, 3] for images of `size`.

    Those of Depth Anything 3 are for the size at which the network saw the images. Its middle is the center, with the
    method `ray_pose` only on average.
    """
    center = intrinsics[:, :2, 2].mean(0, keepdim=True)
    scale = torch.tensor([size[1], size[0]]) / (2 * center.clamp_min(1e-6))
    own = intrinsics.clone()
    own[:, :2] *= scale.unsqueeze(-1)
    own[:, :2, 2] -= 0.5
    return own


NODES = [Correspondences]
