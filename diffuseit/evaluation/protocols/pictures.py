"""Pictures as the published codes see them: Pillow's colors as they lie in the file, and Pillow's resizing."""

from pathlib import Path

from PIL import Image
from torch import Tensor

from ...images.decode import look_into
from ...images.io import to_tensor
from ...models.resize import output_size


def read_rgb(path: Path) -> Image.Image:
    """Return `Image.open(path).convert("RGB")`: neither EXIF's orientation nor a color profile is applied.

    Raise `InputError` for what is no picture.
    """
    return look_into(path, lambda image, _: image.convert("RGB"))


def fitted(
    image: Image.Image, side: int, resample: Image.Resampling = Image.Resampling.BILINEAR
) -> Image.Image:
    """Return torchvision's `Resize(side)` and `CenterCrop(side)` of an image."""
    height, width = output_size(image.height, image.width, side)
    if (width, height) != image.size:
        image = image.resize((width, height), resample)
    left, top = round((width - side) / 2), round((height - side) / 2)
    return image.crop((left, top, left + side, top + side))


def fitted_tensor(image: Image.Image, side: int) -> Tensor:
    """Return `fitted` as [1, 3, side, side] in [-1, 1]."""
    return to_tensor(fitted(image, side))
