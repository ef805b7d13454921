"""Whether a result lies on its source's pixels: the shift between the two, found by their edges.

An edge keeps its place and its direction when a picture changes its style, and not its contrast: snow makes dark
ground bright. So each picture becomes a field of the doubled angle of its gradient, which is the same for an edge and
for its negative, and the two fields are correlated over all shifts (gradient correlation: Argyriou & Vlachos 2003,
with the doubled angle of Bigun & Granlund 1987). Each value is normalized by what the two pictures have in common at
that shift (Padfield 2012), so that no shift is preferred. The best is refined on a grid of 1/16 pixel by the Fourier
transform at those places alone (Guizar-Sicairos et al. 2008).
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

SURE = 0.12
"""Confidence from which a shift counts as found: less than 1 % of pairs of unrelated pocket landscapes reach it, and
all but 1 of 400 that show the same scene in two styles, up to 8 pixels apart."""

SMALLEST = 16
"""Pixels of the shorter side. Smaller pictures have too few edges for a shift."""

_WORKING_SIDE = 384
"""Pixels of the shorter side at which larger pictures are compared."""

_BLUR = 0.5
"""Sigma of the Gaussian whose derivative is the gradient, in pixels."""

_NEIGHBORHOOD = 16
"""The next best shift is looked for farther off than the shorter side divided by this."""

_FINE = torch.arange(-12, 13, dtype=torch.float64, device="cpu") / 16


@dataclass(frozen=True)
class Registration:
    """`shift` [N, 2]: pixels by which each result lies below and to the right of its source, float64.

    `confidence` [N] in [0, 1]: how well the edges agree at that shift, less how well they agree at the best shift that
    is clearly another one. Below `SURE` the shift means nothing: the pictures show different things, or have no edges,
    or only such as repeat or run along one line.
    """

    shift: Tensor
    confidence: Tensor

    @property
    def distance(self) -> Tensor:
        """[N] length of the shift in pixels."""
        return self.shift.norm(dim=1)

    @property
    def found(self) -> Tensor:
        """[N] bool: whether the shift can be trusted."""
        return self.confidence >= SURE


def register(results: Tensor, sources: Tensor) -> Registration:
    """Return how far each result is shifted against its source, both [N, 3, H, W] in [-1, 1].

    Shifts up to a quarter of a side are found. Pictures whose shorter side is over 384 pixels are compared at that
    size; the shift is in pixels of the pictures as given. Raise `InputError` for shapes that differ or are too small.
    """
    if results.shape != sources.shape or results.ndim != 4 or results.shape[1] != 3:
        raise InputError(
            f"results {tuple(results.shape)} and sources {tuple(sources.shape)} need one shape [N, 3, H, W]"
        )
    height, width = results.shape[-2:]
    if min(height, width) < SMALLEST:
        raise InputError(f"pictures of {width}x{height} pixels are too small to find a shift")
    size = (
        output_size(height, width, _WORKING_SIDE) if min(height, width) > _WORKING_SIDE else (height, width)
    )
    scale = torch.tensor([height / size[0], width / size[1]], dtype=torch.float64, device="cpu")
    pairs = zip(sources.split(1), results.split(1), strict=True)
    found = [_shift(*(_field(resize(each, size, antialias=True)) for each in pair)) for pair in pairs]
    shifts = torch.tensor([shift for shift, _ in found], dtype=torch.float64, device="cpu").view(-1, 2)
    confidence = torch.tensor([sure for _, sure in found], dtype=torch.float64, device="cpu")
    return Registration(shifts * scale, confidence)


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


def _shift(source: Tensor, result: Tensor) -> tuple[tuple[float, float], float]:
    """(down, right) and confidence of complex fields [H, W]."""
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
    second = score[far].max().item()
    down, right = row + _FINE, column + _FINE
    place = int(_normalized(_at(spectra, down, right)).argmax())
    shift = down[place // len(_FINE)].item(), right[place % len(_FINE)].item()
    return shift, min(max(peak - max(second, 0.0), 0.0), 1.0)


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
