"""Whether a result lies on its source's pixels: the shift and the zoom between the two, found by their edges.

An edge keeps its place and its direction when a picture changes its style, and not its contrast: snow makes dark
ground bright. So each picture becomes a field of the doubled angle of its gradient, which is the same for an edge and
for its negative, and the two fields are correlated over all shifts (gradient correlation: Argyriou & Vlachos 2003,
with the doubled angle of Bigun & Granlund 1987). Each value is normalized by what the two pictures have in common at
that shift (Padfield 2012), so that no shift is preferred. The best is refined on a grid of 1/16 pixel by the Fourier
transform at those places alone (Guizar-Sicairos et al. 2008).

A zoom moves every part of a picture another way. So the parts are also registered one by one, and a shift and a zoom
are fitted to what they say.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from ..models.resize import output_size, resize
from .edges import luminance

REACH = 4
"""Shifts up to a quarter of each side are looked for."""

SURE = 0.5
"""Confidence from which a shift counts as found."""

SMALLEST = 16
"""Pixels of the shorter side. Smaller pictures have too few edges for a shift."""

WORKING_SIDE = 384
"""Pixels of the shorter side at which larger pictures are compared."""

_BLUR = 0.5
"""Sigma of the Gaussian whose derivative is the gradient, in pixels."""

_NEIGHBORHOOD = 16
"""The next best shift is looked for farther off than the shorter side divided by this."""

_CHANCE = 4.0
"""A peak that stands out by so many standard deviations of all other places has a confidence of a half. Chance makes
the peaks of unrelated pictures: of 200 pairs of pocket scenes none comes so far, and all of 200 that show the same
scene in two styles, up to 8 pixels apart."""

_PARTS = 4
"""A picture has at most so many parts along each side,"""

_PART = 32
"""none of them smaller than this,"""

_FEWEST = 4
"""and fewer that agree tell no zoom."""

_PART_SURE = 1 / 3
"""The confidence from which a part is asked. What is chance agrees with no other part."""

_AGREES = 1.5
"""Pixels between the shift of a part and the fit, from which the part is left out."""

_FINE = torch.arange(-12, 13, dtype=torch.float64, device="cpu") / 16

Shift = tuple[float, float]
"""Down and right, in pixels."""


@dataclass(frozen=True)
class Registration:
    """How results lie on their sources.

    - `shift` [N, 2]: pixels by which each result lies below and to the right of its source, float64.
    - `zoom` [N]: how many times larger the result shows its source, about the middle; NaN where too few parts tell.
    - `confidence` [N] in [0, 1): how far the best shift stands out above the best one that is clearly another, in terms
      of what chance does. Below `SURE` the shift means nothing: the pictures show different things, or have no edges,
      or only such as repeat or run along one line.
    - `size`: height and width of the pictures.
    """

    shift: Tensor
    zoom: Tensor
    confidence: Tensor
    size: tuple[int, int]

    @property
    def distance(self) -> Tensor:
        """[N] length of the shift in pixels."""
        return self.shift.norm(dim=1)

    @property
    def found(self) -> Tensor:
        """[N] bool: whether the shift can be trusted."""
        return self.confidence >= SURE

    @property
    def in_place(self) -> Tensor:
        """[N] bool: whether a mask of the source still fits.

        The shift is found, and neither it nor the zoom, which moves the borders most, moves anything by a pixel. For
        large pictures, a pixel is one of the size at which they are compared.
        """
        pixel = max(1.0, min(self.size) / WORKING_SIDE)
        zoomed = (self.zoom - 1).abs() * min(self.size) / 2 >= pixel  # of NaN: no
        return self.found & (self.distance < pixel) & ~zoomed


def register(results: Tensor, sources: Tensor) -> Registration:
    """Return how each result lies on its source, both [N, 3, H, W] in [-1, 1].

    Shifts up to a quarter of a side are found, and zooms up to about 5 %. Pictures whose shorter side is over 384
    pixels are compared at that size; the shift is in pixels of the pictures as given. Raise `InputError` for shapes
    that differ or are too small.
    """
    if results.shape != sources.shape or results.ndim != 4 or results.shape[1] != 3:
        raise InputError(
            f"results {tuple(results.shape)} and sources {tuple(sources.shape)} need one shape [N, 3, H, W]"
        )
    height, width = results.shape[-2:]
    if min(height, width) < SMALLEST:
        raise InputError(f"pictures of {width}x{height} pixels are too small to find a shift")
    size = output_size(height, width, WORKING_SIDE) if min(height, width) > WORKING_SIDE else (height, width)
    scale = torch.tensor([height / size[0], width / size[1]], dtype=torch.float64, device="cpu")
    pairs = zip(sources.split(1), results.split(1), strict=True)
    found = [_registered(*(_field(resize(each, size, antialias=True)) for each in pair)) for pair in pairs]
    shifts, zooms, confidence = (
        torch.tensor([one[part] for one in found], dtype=torch.float64, device="cpu") for part in range(3)
    )
    return Registration(shifts.view(-1, 2) * scale, zooms, confidence, (height, width))


def _registered(source: Tensor, result: Tensor) -> tuple[Shift, float, float]:
    """Shift, zoom and confidence of complex fields [H, W].

    The whole is more precise where there is no zoom. Where there is, it sees the shift of the part that has most edges.
    """
    shift, confidence = _shift(source, result)
    parts = _fit(*_parts(source, result))
    if parts is None:
        return shift, math.nan, confidence
    fitted, zoom, part_confidence = parts
    if confidence < SURE or abs(zoom - 1) * min(source.shape) / 2 >= 1:
        return fitted, zoom, max(confidence, part_confidence)
    return shift, zoom, confidence


def _parts(source: Tensor, result: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Middles [P, 2] from the middle of the picture, shifts [P, 2] and confidences [P] of parts of fields."""
    height, width = source.shape
    count = min(_PARTS, min(height, width) // _PART)
    middles, shifts, confidences = [], [], []
    if count > 1:
        for row in range(count):
            for column in range(count):
                rows = slice(row * height // count, (row + 1) * height // count)
                columns = slice(column * width // count, (column + 1) * width // count)
                shift, confidence = _shift(source[rows, columns], result[rows, columns])
                middles.append(
                    ((rows.start + rows.stop - height) / 2, (columns.start + columns.stop - width) / 2)
                )
                shifts.append(shift)
                confidences.append(confidence)
    return tuple(  # type: ignore[return-value]
        torch.tensor(values, dtype=torch.float64, device="cpu") for values in (middles, shifts, confidences)
    )


def _fit(middles: Tensor, shifts: Tensor, confidences: Tensor) -> tuple[Shift, float, float] | None:
    """The shift of the middle and the zoom that explain the shifts of the parts, and how sure the parts are.

    None if fewer than `_FEWEST` parts agree. The fit is one of least squares, and begins with the median.
    """
    use = confidences >= _PART_SURE
    if use.sum() < _FEWEST:
        return None
    shift, growth = shifts[use].median(0).values, 0.0
    for _ in range(4):
        # A part may lie off the median by what a zoom of 5 % does to it.
        allowed = _AGREES + (0.05 * middles.norm(dim=1) if growth == 0.0 else 0.0)
        agrees = use & ((shifts - shift - growth * middles).norm(dim=1) <= allowed)
        if agrees.sum() < _FEWEST:
            return None
        places, moves = middles[agrees], shifts[agrees]
        center, mean = places.mean(0), moves.mean(0)
        spread = (places - center).square().sum()
        growth = (((places - center) * (moves - mean)).sum() / spread).item()
        shift = mean - growth * center
    down, right = shift.tolist()
    return (down, right), 1 + growth, confidences[agrees].median().item()


def _field(picture: Tensor) -> Tensor:
    """[1, 3, H, W] -> complex [H, W]: the doubled angle of the gradient, as long as the gradient is sure.

    The length is m / (m + r / 2) for a gradient of length m and their root mean square r: strong edges count alike,
    noise does not count.
    """
    light = luminance(picture.detach().cpu().double())
    radius = math.ceil(3 * _BLUR)
    place = torch.arange(-radius, radius + 1, dtype=torch.float64, device="cpu")
    smooth = torch.exp(-place.square() / (2 * _BLUR**2))
    smooth = smooth / smooth.sum()
    slope = place / _BLUR**2 * smooth
    light = F.pad(light, (radius,) * 4, mode="replicate")

    def filtered(down: Tensor, across: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(light, down.view(1, 1, -1, 1)), across.view(1, 1, 1, -1))[0, 0]

    gradient = torch.complex(filtered(smooth, slope), filtered(slope, smooth))
    length = gradient.abs()
    typical = length.square().mean().sqrt()
    if typical < 1e-4:  # a picture of one color
        return torch.zeros_like(gradient)
    field = (gradient / length.clamp_min(1e-12)).square() * length / (length + typical / 2)
    # The border's gradients are those of the padding.
    field[[0, -1], :] = 0
    field[:, [0, -1]] = 0
    return field


def _shift(source: Tensor, result: Tensor) -> tuple[Shift, float]:
    """Shift and confidence of complex fields [H, W]."""
    height, width = source.shape
    spectra = _spectra(source, result)
    rows, columns = (torch.arange(-(side // REACH), side // REACH + 1) for side in (height, width))
    planes = torch.fft.ifft2(spectra).real[:, rows % (2 * height)][:, :, columns % (2 * width)]
    score = _normalized(planes)
    best = int(score.argmax())
    row, column = rows[best // len(columns)], columns[best % len(columns)]
    peak = score.flatten()[best].item()
    if peak <= 0:
        return (0.0, 0.0), 0.0
    away = max(3, min(height, width) // _NEIGHBORHOOD)
    far = ((rows - row).abs() > away)[:, None] | ((columns - column).abs() > away)
    second, spread = score[far].max().item(), score[far].std().item()
    down, right = row + _FINE, column + _FINE
    place = int(_normalized(_at(spectra, down, right)).argmax())
    shift = down[place // len(_FINE)].item(), right[place % len(_FINE)].item()
    stands_out = max(peak - max(second, 0.0), 0.0) / max(spread, 1e-3) / _CHANCE
    return shift, stands_out / (1 + stands_out)


def _spectra(source: Tensor, result: Tensor) -> Tensor:
    """[3, 2H, 2W]: of the correlation, and of the two energies in the overlap at each shift."""
    height, width = source.shape
    fields = torch.stack(
        [source, result, source.abs().square(), result.abs().square(), torch.ones_like(source)]
    )
    one, two, energy_one, energy_two, inside = torch.fft.fft2(fields, (2 * height, 2 * width))
    return torch.stack([one.conj() * two, energy_one.conj() * inside, inside.conj() * energy_two])


def _at(spectra: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The inverse Fourier transform [3, rows, columns] at any places."""
    height, width = spectra.shape[-2:]

    def waves(places: Tensor, count: int) -> Tensor:
        frequencies = 2 * math.pi * torch.fft.fftfreq(count, dtype=torch.float64, device="cpu")
        angle = places[:, None] * frequencies
        return torch.polar(torch.ones_like(angle), angle)

    return (waves(rows, height) @ spectra @ waves(columns, width).T).real / (height * width)


def _normalized(planes: Tensor) -> Tensor:
    """[3, h, w] correlation and energies -> [h, w] in [-1, 1], 0 where one picture has no edges."""
    correlation, one, two = planes
    energy = (one.clamp_min(0) * two.clamp_min(0)).sqrt()
    return torch.where(energy > 1e-6, correlation / energy.clamp_min(1e-12), 0.0)
