"""Moving pictures of the pocket world: where every pixel goes, what is hidden, and how far away it is."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...correspondence import Correspondence
from ...correspondence.links import grid, inside
from ...correspondence.warp import sampled
from .canvas import Motion, Surfaces, View
from .render import Geometry, render, surfaces

FOCAL = 64.0
"""The focal length in world units: a thing of parallax p is FOCAL / p away."""

FARTHEST = 1e4
"""The depth of the sky."""


@dataclass(frozen=True)
class Shot:
    """N images of one scene under a motion, and what is seen in them."""

    geometry: Geometry
    motion: Motion
    view: View
    seen: Surfaces

    def __len__(self) -> int:
        return len(self.motion)

    def pictures(self, style: int, texture_seed: int) -> Tensor:
        """Return the images in a style: [N, 3, S, S] in [-1, 1]."""
        count = len(self)
        return render(self.geometry, [style] * count, [texture_seed] * count, self.view, self.motion)

    def depth(self) -> Tensor:
        """Return the depth of each pixel, in world units: [N, S, S]."""
        return FOCAL / self.seen.parallax.clamp_min(FOCAL / FARTHEST)

    def cameras(self) -> tuple[Tensor, Tensor]:
        """Return intrinsics [N, 3, 3] in pixels and extrinsics [N, 4, 4], world to camera.

        They hold for things that do not drift. A pan shifts the principal point.
        """
        scale, count = self.view.scale, len(self)
        center = (self.view.size - 1) / 2
        intrinsics = torch.eye(3).repeat(count, 1, 1)
        intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = FOCAL * scale
        intrinsics[:, :2, 2] = center - scale * self.motion.pan
        extrinsics = torch.eye(4).repeat(count, 1, 1)
        extrinsics[:, 0, 3] = -self.motion.track
        return intrinsics, extrinsics

    def links(self, pairs: list[tuple[int, int]]) -> Correspondence:
        """Return the exact correspondences of pairs of images. What is hidden or outside has certainty 0.

        Where a position lies between pixels, certainty is the share of those that show the same surface.
        """
        image, other = [a for a, _ in pairs], [b for _, b in pairs]
        flow = self.flow(image, other)
        position = grid((self.view.size, self.view.size), flow) + flow
        own, there = self.seen.number[image].unsqueeze(1), self.seen.number[other].unsqueeze(1)
        same = torch.zeros_like(position[:, :1])
        for number in self.seen.number.unique().tolist():
            same += (own == number) * sampled((there == number).float(), position)
        return Correspondence(tuple(image), tuple(other), position, same.clamp(0, 1) * inside(position))

    def neighbors(self) -> Correspondence:
        """Return the exact correspondences of each image with those before and after it."""
        count = len(self)
        return self.links([(i, j) for i in range(count) for j in (i - 1, i + 1) if 0 <= j < count])

    def flow(self, image: list[int], other: list[int]) -> Tensor:
        """Return by how many pixels (x, y) what images show has moved in other images: [L, 2, S, S]."""
        motion = self.motion
        turned = (motion.pan[image] - motion.pan[other])[:, :, None, None]
        gone = (motion.track[image] - motion.track[other])[:, None, None] * self.seen.parallax[image]
        drifted = (motion.drift[other] - motion.drift[image])[:, None, None, None] * self.seen.drift[image]
        return self.view.scale * (turned + torch.stack([gone, torch.zeros_like(gone)], dim=1) + drifted)

    def plain(self) -> Tensor:
        """Return where a pixel and all eight around it show one surface: [N, 1, S, S] of 0 and 1."""
        number = self.seen.number.float().unsqueeze(1)
        high, low = F.max_pool2d(number, 3, 1, 1), -F.max_pool2d(-number, 3, 1, 1)
        return (high == low).float()


def shoot(geometry: Geometry, motion: Motion, view: View | None = None) -> Shot:
    """Return images of one geometry (a batch of 1) under a motion."""
    many = Geometry(geometry.domain, geometry.params.expand(len(motion), -1))
    return Shot(many, motion, view or View(), surfaces(many, motion, view))
