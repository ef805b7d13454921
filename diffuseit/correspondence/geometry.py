"""Correspondences of views: depth and camera poses, unprojected, projected, and compared."""

import torch
from torch import Tensor

from ..errors import InputError
from .links import Correspondence, grid, inside
from .warp import sampled

TOLERANCE = 0.05
"""The relative difference of depths up to which two pixels show the same point."""


def from_geometry(depth: Tensor, intrinsics: Tensor, extrinsics: Tensor) -> Correspondence:
    """Return the correspondences of each of N views with the views before and after it.

    `depth` [N, H, W] is the distance along the camera's axis, 0 or not finite where it is unknown. `intrinsics`
    [N, 3, 3] are in pixels, where the center of the first pixel is (0, 0). `extrinsics` [N, 4, 4] or [N, 3, 4] map
    the world to the camera (x right, y down, z forward). A pixel is hidden where the other view has another depth.
    Raise `InputError` for other shapes, or for matrices that are not finite or have no inverse.
    """
    count = len(depth)
    if depth.ndim != 3 or intrinsics.shape != (count, 3, 3):
        raise InputError(
            f"depth is {tuple(depth.shape)} and intrinsics are {tuple(intrinsics.shape)}: "
            "give [N, H, W] and [N, 3, 3]"
        )
    if extrinsics.shape not in ((count, 3, 4), (count, 4, 4)):
        raise InputError(f"extrinsics are {tuple(extrinsics.shape)}: give [{count}, 4, 4] or [{count}, 3, 4]")
    depth, intrinsics, pose = depth.double(), intrinsics.double(), extrinsics.double()[:, :3]
    rotation, shift = pose[..., :3], pose[..., 3:]
    for name, matrices in (("intrinsics", intrinsics), ("extrinsics", rotation)):
        for number, matrix in enumerate(matrices):
            if not torch.isfinite(matrix).all() or abs(float(torch.linalg.det(matrix))) < 1e-9:
                raise InputError(f"the {name} of view {number} have no inverse or are not finite")
    if not torch.isfinite(shift).all():
        raise InputError("the extrinsics are not finite")
    known = torch.isfinite(depth) & (depth > 0)
    depth = torch.where(known, depth, 0.0)

    image = [i for i in range(count) for j in (i - 1, i + 1) if 0 <= j < count]
    other = [j for i in range(count) for j in (i - 1, i + 1) if 0 <= j < count]
    size = (depth.shape[-2], depth.shape[-1])
    pixels = torch.cat([grid(size, depth), torch.ones_like(depth[:1, None])], dim=1).flatten(2)
    rays = torch.linalg.solve(intrinsics, pixels.expand(count, -1, -1))
    points = torch.linalg.solve(rotation, rays * depth.flatten(1).unsqueeze(1) - shift)
    seen = rotation[other] @ points[image] + shift[other]
    far = seen[:, 2:]
    projected = intrinsics[other] @ seen
    valid = (far > 1e-9) & known[image].flatten(1).unsqueeze(1)
    position = torch.where(valid, projected[:, :2] / projected[:, 2:].clamp_min(1e-9), -2.0)
    # Far outside is outside: large numbers are of no use.
    position = position.clamp(-2.0, 2.0 * max(size)).view(-1, 2, *size)
    far, valid = far.view(-1, 1, *size), valid.view(-1, 1, *size)
    there = sampled(depth[other].unsqueeze(1), position)
    whole = sampled(known[other].unsqueeze(1).double(), position) > 0.99
    error = (there - far).abs() / far.clamp_min(1e-9)
    certainty = (2 - error / TOLERANCE).clamp(0, 1) * inside(position) * (valid & whole)
    return Correspondence(tuple(image), tuple(other), position.float(), certainty.float())
