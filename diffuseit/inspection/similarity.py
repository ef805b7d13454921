"""How similar all patches of a picture are to the patch at a point (the self-similarity of Tumanyan et al. 2022)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError

RAMP = ("#440154", "#3b528b", "#21918c", "#5ec962", "#fde725")
"""Colors from the least to the most similar: five of the map viridis (van der Walt and Smith 2015)."""

MARK = (1.0, -1.0, -1.0)
"""The color of the patch at the point: red, in [-1, 1]."""


def patch_at(point: tuple[float, float], grid: tuple[int, int]) -> tuple[int, int]:
    """Return (row, column) of the patch at `point`: x and y in [0, 1], from the left and from the top.

    Raise `InputError` if the point is outside.
    """
    x, y = point
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise InputError(f"the point {x:g}, {y:g} is outside: give x and y between 0 and 1")
    rows, columns = grid
    return min(int(y * rows), rows - 1), min(int(x * columns), columns - 1)


def point_similarity(features: Tensor, point: tuple[float, float]) -> Tensor:
    """Return the cosines [rows, columns] of the features [rows, columns, D] with those of the patch at `point`.

    A patch whose features are all 0 has the cosine 0 with every other.
    """
    row, column = patch_at(point, (features.shape[0], features.shape[1]))
    directions = F.normalize(features, dim=-1)
    return directions @ directions[row, column]


def similarity_colors(maps: Sequence[Tensor], point: tuple[float, float]) -> list[Tensor]:
    """Return pictures [3, rows, columns] in [-1, 1] of maps of cosines, all on one scale.

    The scale goes from the lowest cosine of all maps (dark) to 1 (yellow). The patch at `point` is red.
    """
    low = min(float(one.min()) for one in maps)
    stops = torch.tensor([[int(color[at : at + 2], 16) for at in (1, 3, 5)] for color in RAMP]) / 127.5 - 1
    pictures = []
    for one in maps:
        place = ((one - low) / max(1 - low, 1e-6)).clamp(0, 1) * (len(RAMP) - 1)
        before = place.floor().long().clamp_max(len(RAMP) - 2)
        picture = torch.lerp(stops[before], stops[before + 1], (place - before).unsqueeze(-1))
        picture[patch_at(point, (one.shape[0], one.shape[1]))] = torch.tensor(MARK)
        pictures.append(picture.permute(2, 0, 1))
    return pictures
