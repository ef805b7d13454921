"""Other code in the process may change torch's default dtype or device: what we make is the same."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from diffuseit import api
from diffuseit.performance.memory import run_bytes
from diffuseit.performance.options import LOW_MEMORY
from diffuseit.pocket.world.render import DOMAINS, STYLES, render, sample_geometry, segment
from diffuseit.presets import IMAGE_DEFAULT

SETTINGS = {"steps": 6, "skip": 3, "resample": 2}


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


# On "meta" a tensor that is made without a device has no contents.
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
    """With networks that are loaded under the same defaults as the run."""
    models = api.load_models("pocket")
    source, style = pictures[:1], pictures[1:]
    if kind == "text":
        return api.translate(source, to="winter", from_="summer", models=models, **SETTINGS).pictures
    return api.translate(source, style=style, models=models, preset=IMAGE_DEFAULT, **SETTINGS).pictures


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


def drawn(domain):
    geometry = sample_geometry(domain, [1, 2])
    return render(geometry, [0, len(STYLES[domain]) - 1], [5, 6]), segment(geometry)


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("change", CHANGES)
def test_scenes_do_not_depend_on_torchs_defaults(change, domain):
    image, labels = drawn(domain)
    with CHANGES[change]():
        found_image, found_labels = drawn(domain)
    torch.testing.assert_close(found_image, image, rtol=0, atol=1e-6)
    assert torch.equal(found_labels, labels)


@pytest.mark.parametrize("change", CHANGES)
def test_estimates_of_memory_do_not_depend_on_torchs_defaults(change):
    def estimated():
        models = api.load_models("pocket")
        networks = [(models.vit, 0), *((clip, 3) for clip in models.clip.models)]
        return run_bytes(models.ddpm, networks, 1, (64, 64), LOW_MEMORY)

    expected = estimated()
    with CHANGES[change]():
        assert estimated() == expected
