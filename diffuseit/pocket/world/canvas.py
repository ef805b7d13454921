"""Signed distances, anti-aliased compositing and seeded numbers, batched.

Shapes live in world units: the pixels of a 64x64 image. A `View` says which pixels are drawn, S x S of them. A scalar
of a batch has shape [N, 1, 1], a row of x is [1, 1, S] or [N, 1, S], a column of y is [1, S, 1] or [N, S, 1]; distances
are [N, S, S], inside < 0.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SIZE = 64
EDGE = 1.2  # pixels over which the edge of a shape is blended
FAR = 1e3  # added to a distance, it makes a shape absent


@dataclass(frozen=True)
class View:
    """Which part of the world is drawn, and how finely.

    `size` is the number of pixels of each side, `scale` the number of pixels in a world unit, and `offset` (x, y) the
    world's coordinates of the upper left corner. The whole world at twice the resolution is `View(128, 2)`.
    """

    size: int = SIZE
    scale: float = 1.0
    offset: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Motion:
    """Where the camera and the moving things of N images are, in world units.

    `pan` [N, 2] is how far the camera has turned to the right and down: everything moves by as much the other way.
    `track` [N] is how far it has gone to the right: a thing moves to the left by its parallax, 0 for the sky to 1 for
    what is nearest. `drift` [N] is how far the moving things have gone: clouds, and the animal.
    """

    pan: Tensor
    track: Tensor
    drift: Tensor

    def __len__(self) -> int:
        return len(self.pan)

    def __getitem__(self, part: slice | Tensor) -> "Motion":
        return Motion(self.pan[part], self.track[part], self.drift[part])


@dataclass(frozen=True)
class Surfaces:
    """What each pixel [N, S, S] shows: the number of a surface, its parallax, and its drift (x, y) [N, 2, S, S]."""

    number: Tensor
    parallax: Tensor
    drift: Tensor


def uniforms(seeds: Tensor, count: int) -> Tensor:
    """[N] int64 seeds -> [N, count] float32 in [0, 1), equal on every device (a splitmix64 hash)."""
    index = torch.arange(1, count + 1, device=seeds.device)
    return (_mix(_mix(seeds)[:, None] + index * -7046029254386353131) & 0xFFFFFF).float() / float(1 << 24)


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shift(z, 30)) * -4658895280553007687
    z = (z ^ _shift(z, 27)) * -7723592293110705685
    return z ^ _shift(z, 31)


def _shift(z: Tensor, bits: int) -> Tensor:
    return (z >> bits) & ((1 << (64 - bits)) - 1)  # logical: int64 shifts drag the sign along


def either(condition: Tensor, yes: float, no: float) -> Tensor:
    """One of two numbers for each item, as float32, which `torch.where` would make of torch's default dtype."""
    return torch.where(condition, torch.tensor(yes, dtype=torch.float32, device=condition.device), no)


class Draw:
    """Reads the columns of a [N, P] table of uniform numbers one after the other, as [N, 1, 1] scalars."""

    def __init__(self, table: Tensor) -> None:
        self._columns = iter(table.unsqueeze(-1).unsqueeze(-1).unbind(1))

    def between(self, low: float | Tensor, high: float | Tensor) -> Tensor:
        return low + (high - low) * next(self._columns)

    def chance(self, probability: float) -> Tensor:
        return next(self._columns) < probability


class Canvas:
    """Colors [N, 3, S, S] in [0, 1] and class labels [N, S, S]; shapes are painted back to front.

    `x` [1, 1, S] and `y` [1, S, 1] are the world's coordinates of the centers of pixels. With a motion, they are those
    of the layer that is painted: [N, 1 or S, S] and [N, S, 1].
    """

    def __init__(
        self,
        batch: int,
        labels: Sequence[str],
        device: torch.device,
        view: View | None = None,
        motion: Motion | None = None,
    ) -> None:
        self.view = view = view or View()
        centers = (torch.arange(view.size, dtype=torch.float32, device=device) + 0.5) / view.scale
        self.x = (centers + view.offset[0]).view(1, 1, -1)
        self.y = (centers + view.offset[1]).view(1, -1, 1)
        self.rgb = torch.zeros(batch, 3, view.size, view.size, dtype=torch.float32, device=device)
        self.labels: Tensor | None = None
        self._names = {name: index for index, name in enumerate(labels)}
        self.motion, self._at = motion, (self.x, self.y)
        self.surfaces: Surfaces | None = None
        if motion is not None:
            shape = (batch, view.size, view.size)
            self.surfaces = Surfaces(
                torch.ones(shape, dtype=torch.int64, device=device),
                torch.zeros(shape, device=device),
                torch.zeros(batch, 2, *shape[1:], device=device),
            )
            self._layers = 0
            self.layer()

    def layer(self, parallax: float | Tensor = 0.0, drift: tuple[float, float] = (0.0, 0.0)) -> None:
        """Begin a surface with its own parallax ([N, 1 or S, 1] or a number) and drift (x, y)."""
        if self.motion is None:
            return
        pan_x, pan_y = self.motion.pan[:, :, None, None].unbind(1)
        track, time = self.motion.track[:, None, None], self.motion.drift[:, None, None]
        self._parallax = torch.zeros_like(track) + parallax
        self._drift = drift
        self.x = self._at[0] + pan_x + track * self._parallax - time * drift[0]
        self.y = self._at[1] + pan_y - time * drift[1]
        self._layers += 1

    def cling(self) -> None:
        """Let what is painted next move with the surface that each pixel shows."""
        if self.motion is None or self.surfaces is None:
            return
        pan_x, pan_y = self.motion.pan[:, :, None, None].unbind(1)
        track, time = self.motion.track[:, None, None], self.motion.drift[:, None, None]
        self.x = self._at[0] + pan_x + track * self.surfaces.parallax - time * self.surfaces.drift[:, 0]
        self.y = self._at[1] + pan_y - time * self.surfaces.drift[:, 1]

    def level(self) -> Tensor:
        """Return the world's y of each row, [N or 1, S, 1], for things that do not drift."""
        return self._at[1] if self.motion is None else self._at[1] + self.motion.pan[:, 1, None, None]

    def record_labels(self) -> None:
        count, _, *size = self.rgb.shape
        self.labels = torch.zeros(count, *size, dtype=torch.int64, device=self.rgb.device)

    def cover(self, distance: Tensor) -> Tensor:
        """Coverage in [0, 1] of a signed distance, whose edge is `EDGE` pixels wide at any scale."""
        return cover(distance, EDGE / self.view.scale)

    def paint(self, coverage: Tensor, color: Tensor, label: str | None = None) -> None:
        """Blend a color [N, 3, 1 or S, 1 or S] in by coverage [N, S, S]; details have no label."""
        self.rgb.lerp_(color, coverage.unsqueeze(1))
        if label is not None and self.labels is not None:
            self.labels.masked_fill_(coverage > 0.5, self._names[label])
        if label is not None and self.surfaces is not None:
            shown = coverage > 0.5
            self.surfaces.number.masked_fill_(shown, self._layers)
            self.surfaces.parallax.copy_(torch.where(shown, self._parallax, self.surfaces.parallax))
            for axis, speed in enumerate(self._drift):
                self.surfaces.drift[:, axis].masked_fill_(shown, speed)


class Palette:
    """Named colors of each item: table[part] lists a hex color per style, palette[part] is [N, 3, 1, 1]."""

    def __init__(self, table: dict[str, str], styles: Tensor) -> None:
        rows = [[_rgb(code) for code in row.split()] for row in table.values()]
        colors = torch.tensor(rows, dtype=torch.float32, device=styles.device)
        self._parts = dict(zip(table, colors[:, styles, :, None, None], strict=True))

    def __getitem__(self, part: str) -> Tensor:
        return self._parts[part]

    def blend(self, start: str, end: str, weight: Tensor) -> Tensor:
        """Gradient between two parts; weight [N, h, w] in [0, 1] -> [N, 3, h, w]."""
        return torch.lerp(self[start], self[end], weight.unsqueeze(1))


def _rgb(code: str) -> list[float]:
    return [int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)]


def cover(distance: Tensor, softness: float) -> Tensor:
    """Coverage in [0, 1] of a signed distance; the edge is `softness` world units wide."""
    return (0.5 - distance / softness).clamp_(0, 1)


def ramp(value: Tensor, start: float | Tensor, end: float | Tensor) -> Tensor:
    """Smoothstep from 0 at start to 1 at end."""
    t = ((value - start) / (end - start)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def smooth_union(a: Tensor, b: Tensor, k: float) -> Tensor:
    """Union with a fillet of about k pixels."""
    overlap = (k - (a - b).abs()).clamp_(min=0)
    return torch.minimum(a, b) - overlap.square_() * (0.25 / k)


def circle(x: Tensor, y: Tensor, radius: float | Tensor) -> Tensor:
    return (x.square() + y.square()).sqrt_().sub_(radius)


def ellipse(x: Tensor, y: Tensor, rx: float | Tensor, ry: float | Tensor) -> Tensor:
    """First-order distance, exact on the outline's normal for rx = ry."""
    norm = ((x / rx).square() + (y / ry).square()).sqrt_()
    slope = ((x / (rx * rx)).square() + (y / (ry * ry)).square()).sqrt_().clamp_(min=1e-3)
    return (norm - 1).mul_(norm.clamp(min=1e-3)).div_(slope)


def box(x: Tensor, y: Tensor, half_width: float | Tensor, half_height: float | Tensor) -> Tensor:
    return torch.maximum(x.abs() - half_width, y.abs() - half_height)


def capsule(
    x: Tensor,
    y: Tensor,
    start: tuple[float | Tensor, float | Tensor],
    end: tuple[float | Tensor, float | Tensor],
    radius: float | Tensor,
    end_radius: float | Tensor | None = None,
) -> Tensor:
    """A thick line from start to end, tapering to end_radius."""
    px, py = x - start[0], y - start[1]
    bx, by = end[0] - start[0], end[1] - start[1]
    square = bx * bx + by * by
    along = (px * (bx / square) + py * (by / square)).clamp_(0, 1)
    distance = (px - along * bx).square_().add_((py - along * by).square_()).sqrt_().sub_(radius)
    return distance if end_radius is None else distance.sub_(along.mul_(end_radius - radius))


def wave(x: Tensor, length: float | Tensor, phase: Tensor) -> tuple[Tensor, Tensor]:
    """A sine of unit height over x, phase in [0, 1): its value and its slope."""
    angle = 2 * math.pi * (x / length + phase)
    return angle.sin(), angle.cos() * (2 * math.pi / length)


def stripes(position: Tensor, period: float | Tensor, width: float | Tensor, phase: Tensor) -> Tensor:
    """Signed distance to parallel bands of the given width, one per period of position."""
    cell = position / period + phase
    return (cell - cell.floor() - 0.5).abs() * period - width / 2


def scatter(
    canvas: Canvas, table: Tensor, cell: float, radius: tuple[float, float], share: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Round dots, at most one in each cell of a staggered grid over the world.

    table [N, 4, K] uniform numbers (x, y, size, presence); share is the part of cells that hold a dot. Of the
    dot in each pixel's cell, all [N, S, S]: distance, size number in [0, 1), how far the pixel is below it.
    """
    x, y = canvas.x, canvas.y
    row = (y / cell).floor()
    shifted = x / cell + 0.5 * (row % 2)
    column = shifted.floor()
    columns = int(SIZE / cell) + 2
    # Beyond the world of 64x64 the numbers repeat.
    place = (row * columns + column).long() % table.shape[-1]
    found = table.gather(2, place.flatten(1).unsqueeze(1).expand(len(table), 4, -1))
    u, v, size, presence = found.unflatten(2, place.shape[1:]).unbind(1)
    room = cell - 2 * radius[1]
    dx = (shifted - column - 0.5) * cell - (u - 0.5) * room
    dy = (y / cell - row - 0.5) * cell - (v - 0.5) * room
    distance = circle(dx, dy, radius[0] + (radius[1] - radius[0]) * size)
    return distance + either(presence > share, FAR, 0.0), size, dy
