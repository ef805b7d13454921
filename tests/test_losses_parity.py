"""Every loss and its gradient against the official code's (tests/parity/README.md)."""

import pytest
import torch
from parity_data import GRADIENT, VALUE, clips, loss_sets, matched, parity_set, relative_error, tensors, vit

from diffuseit.losses.image_style import cls_distance, pixel_distance
from diffuseit.losses.range import range_loss
from diffuseit.losses.structure import key_contrastive_loss, self_similarity, self_similarity_loss
from diffuseit.losses.text_style import target_direction, text_style_loss

pytestmark = pytest.mark.numeric

TAU = 0.07


def vit_value(name, x, data, antialias):
    network = vit(antialias)
    features = network(x)
    with torch.no_grad():
        source, previous, target = (network(data[key]) for key in ("source", "prev", "target"))
    if name == "ssim":
        return self_similarity_loss(features.keys, self_similarity(source.keys))
    if name == "contra":
        return key_contrastive_loss(features.keys, source.keys, TAU)
    if name == "dir_cls":
        return -cls_distance(features.cls, previous.cls)
    return cls_distance(features.cls, target.cls)


def clip_value(x, data, antialias):
    ensemble, config = clips(antialias), parity_set().config
    total = 0
    for model in ensemble:
        with torch.no_grad():
            e_image = model.encode_image(data["source"])[:, 0]
        direction = target_direction(
            model.encode_prompt(config["prompt"]), model.encode_prompt(config["source"]), e_image
        )
        total = total + text_style_loss(model.encode_image(x), direction) / len(ensemble)
    return total


def value_of(name, x, data):
    antialias, plain = name.startswith("aa_"), name.removeprefix("aa_")
    if plain == "clip":
        return clip_value(x, data, antialias)
    if plain == "l2":
        return pixel_distance(x, data["target"])
    if plain == "range_of_2x":
        return range_loss(2 * x)
    return vit_value(plain, x, data, antialias)


NAMES = ["ssim", "contra", "dir_cls", "style_cls", "clip", "l2", "range_of_2x"]
CASES = [
    (size, name)
    for size in loss_sets()
    for name in NAMES + [f"aa_{name}" for name in NAMES]
    if name in parity_set().config["losses"][size]
]


@pytest.mark.parametrize(("size", "name"), CASES)
def test_value_and_gradient_are_the_official_codes(size, name):
    data, expected = tensors(f"losses_{size}"), parity_set().config["losses"][size][name]
    x = data["x"].clone().requires_grad_()
    value = value_of(name, x, data).sum()
    assert value.item() == pytest.approx(expected["value"], rel=VALUE)
    gradient = torch.autograd.grad(value, x)[0]
    assert gradient.norm().item() == pytest.approx(expected["grad_norm"], rel=GRADIENT)
    assert gradient.abs().max().item() == pytest.approx(expected["grad_absmax"], rel=GRADIENT)
    try:
        actual, recorded = matched(data, f"grad/{name}", gradient)
    except KeyError:
        return  # only its norm and maximum are recorded
    assert relative_error(actual, recorded) < GRADIENT
