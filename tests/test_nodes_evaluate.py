"""The evaluation node, without a ComfyUI."""

import importlib
import math
from types import SimpleNamespace

import pytest
import torch
from nodes_alone import NAME, import_node_module

from diffuseit.pocket.world.render import STYLES, render, sample_geometry
from diffuseit.pocket.world.seeds import TUNING

SUMMER, WINTER = (STYLES["landscape"].index(name) for name in ("summer", "winter"))


@pytest.fixture
def evaluate(monkeypatch):
    node = import_node_module(monkeypatch, "evaluate").Evaluate

    def evaluate(image, source, to_text="", from_text="", **optional):
        with torch.inference_mode():
            out = node.execute(
                image=image, source=source, to_text=to_text, from_text=from_text, **optional
            ).args
        return SimpleNamespace(
            **dict(zip(("report", "text", "structure_kept", "target_reached", "in_place"), out, strict=True))
        )

    return evaluate


def scenes(style, *numbers, side=64):
    """ComfyUI's images of the same scenes in any style."""
    seeds = [TUNING.start + 30_000 + number for number in numbers]
    pictures = render(sample_geometry("landscape", seeds), [style] * len(seeds), seeds)
    if side != 64:
        pictures = torch.nn.functional.interpolate(pictures, (side, side), mode="bicubic")
    return pictures.add(1).div(2).clamp(0, 1).movedim(1, -1)


def test_small_images_need_nothing_connected(evaluate):
    source = scenes(SUMMER, 1)
    good = evaluate(scenes(WINTER, 1), source, "winter landscape", "summer landscape")
    assert good.text.startswith("structure kept, target reached, in place")
    assert good.structure_kept > 0.5 and good.target_reached > 0.5 and good.in_place is True
    copy = evaluate(source, source, "winter landscape", "summer landscape")
    assert copy.text.startswith("kept its source, target not reached, in place")
    assert copy.structure_kept > 0.5 > copy.target_reached
    other = evaluate(scenes(WINTER, 2), source, "winter landscape")
    assert other.text.startswith("did not keep the structure, target reached")
    assert other.structure_kept < 0.5 and other.in_place is False


def test_a_batch_has_one_source_or_one_for_each(evaluate):
    pictures, sources = scenes(WINTER, 1, 2), scenes(SUMMER, 1, 2)
    each = evaluate(pictures, sources)
    assert each.in_place is True and "Means of 2 images" in each.text
    one = evaluate(pictures, sources[:1])
    assert one.in_place is False
    assert "1: structure kept" in one.text and "2: did not keep the structure" in one.text
    assert one.structure_kept < each.structure_kept
    with pytest.raises(Exception, match=r"source: 2 for 3 images: give one, or one for each"):
        evaluate(scenes(WINTER, 1, 2, 3), sources)


def test_the_report_shows_the_worst_of_a_large_batch(evaluate):
    pictures, source = scenes(WINTER, *[1] * 9), scenes(SUMMER, 1)
    few, many = evaluate(pictures[:2], source), evaluate(pictures, source)
    assert few.report.shape[1] < many.report.shape[1] < 9 * few.report.shape[1] / 2
    assert many.report.shape[0] == 1


def test_other_sizes_are_resized_and_said(evaluate):
    found = evaluate(scenes(WINTER, 1, side=96), scenes(SUMMER, 1, side=192), "winter landscape")
    assert "resized from 192x192 to 96x96" in found.text
    assert "The text was not measured: connect DiffuseIT Load CLIP" in found.text
    assert found.text.startswith("structure kept, in place") and found.target_reached == 0


def test_a_style_image_and_a_mask_are_measured(evaluate):
    source, result = scenes(SUMMER, 1), scenes(WINTER, 1)
    mask = torch.zeros(1, 64, 64)
    mask[:, 32:] = 1
    masked = torch.where(mask[..., None] > 0, result, source)
    found = evaluate(masked, source, style_image=scenes(WINTER, 5), mask=mask)
    assert "background PSNR: 100.00 dB" in found.text and "style match" in found.text
    two = torch.cat([mask, 1 - mask])
    assert "background PSNR" in evaluate(torch.cat([masked, masked]), source, mask=two).text
    whole = evaluate(result, source, style_image=scenes(WINTER, 5))
    assert 0 < found.target_reached < whole.target_reached <= 1


@pytest.mark.parametrize("side", [8, 40, 64])
def test_one_color_gives_no_nan(evaluate, side):
    gray, scene = torch.full((1, side, side, 3), 0.5), scenes(SUMMER, 1, side=side)
    for image, source in ((gray, gray), (gray, scene), (scene, gray)):
        found = evaluate(image, source, "winter landscape", style_image=gray)
        assert all(math.isfinite(value) for value in (found.structure_kept, found.target_reached))
        assert "nan" not in found.text and found.in_place is False


def test_connected_networks_measure(evaluate):
    loaders = importlib.import_module(f"{NAME}.nodes.loaders")
    (vit,) = loaders.LoadViT.execute(model="pocket", layer=-1).args
    (clip,) = loaders.LoadCLIP.execute(model="pocket").args
    (both,) = loaders.LoadCLIP.execute(model="pocket", further={"clip0": clip}).args
    result, source = scenes(WINTER, 1, side=96), scenes(SUMMER, 1, side=96)
    text = evaluate(result, source, "winter landscape", "summer landscape", vit=vit, clip=both).text
    assert "structure distance" in text and "text match (pocket 2)" in text
    assert "not measured" not in text and "no fair judge" in text
