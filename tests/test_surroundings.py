"""Other code in the process may change torch's default dtype or device: a translation is the same."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from diffuseit import api
from diffuseit.pocket.world.render import render, sample_geometry
from diffuseit.presets import PRESETS

SETTINGS = {"steps": 6, "skip": 3, "resample": 2}


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


# On "meta" every tensor that is made without a device has no contents.
CHANGES = {
    "float64": lambda: default_dtype(torch.float64),
    "float16": lambda: default_dtype(torch.float16),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "meta": lambda: torch.device("meta"),
}


@pytest.fixture(scope="module")
def pictures():
    return render(sample_geometry("landscape", [1, 2]), [0, 2], [5, 6])


def translated(pictures, kind):
    """With networks that are loaded and built under the same defaults as the run."""
    models = api.load_models("pocket")
    source, style = pictures[:1], pictures[1:]
    if kind == "text":
        return api.translate(source, to="winter", from_="summer", models=models, **SETTINGS)
    preset = next(preset for preset in PRESETS.values() if preset.kind == "image" and preset.color_match)
    return api.translate(source, style=style, models=models, preset=preset, **SETTINGS)


@pytest.fixture(scope="module")
def expected(pictures):
    return {kind: translated(pictures, kind) for kind in ("text", "image")}


@pytest.mark.parametrize("kind", ["text", "image"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_translation_does_not_depend_on_torchs_defaults(pictures, expected, change, kind):
    with CHANGES[change]():
        result = translated(pictures, kind)
    assert result.dtype == torch.float32
    assert result.device.type == "cpu"
    torch.testing.assert_close(result, expected[kind], rtol=0, atol=1e-4)
