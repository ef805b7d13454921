"""Whole runs against the official code's, with its recorded noise and crops (tests/parity/README.md)."""

from collections import Counter

import pytest
import torch
from parity_data import (
    GRADIENT,
    Recorded,
    clips,
    ddpm,
    matched,
    picture,
    read_json,
    relative_error,
    tensors,
    trajectories,
    vit,
)

from diffuseit.guidance.loop import sample
from diffuseit.guidance.settings import SamplerSettings
from diffuseit.images.color import match_colors
from diffuseit.images.io import to_pil, to_tensor
from diffuseit.losses import (
    ImageStyleLoss,
    RangeLoss,
    SemanticDivergenceLoss,
    StructureLoss,
    TextStyleLoss,
    bind,
)
from diffuseit.methods import DiffuseIT, DiffuseITDDIM

pytestmark = pytest.mark.numeric


def setup(record):
    """The official flags of a recorded run as our losses and settings."""
    args = record["args"]
    weight = args["vit_lambda"]
    method = DiffuseITDDIM() if args["ddim"] else DiffuseIT()
    settings = SamplerSettings(
        steps=int(args["timestep_respacing"].removeprefix("ddim")),
        skip=args["skip_timesteps"],
        resample=10,
        method=method,
        view="noised" if args["use_noise_aug_all"] else "pred_xstart",
        restart_above=(0.1 if args["use_ffhq"] else 0.01) if args["use_range_restart"] else None,
        max_restarts=100,
    )
    levels = settings.steps - settings.skip
    losses = [
        StructureLoss(
            self_similarity=args["lambda_ssim"] * weight,
            contrastive=args["lambda_contra_ssim"] * weight,
            progressive_contrast=args["use_prog_contrast"],
            regularize_content=args["regularize_content"],
        ),
        SemanticDivergenceLoss(
            weight=args["lambda_dir_cls"] * weight,
            # The official code counts what is left: it acts above timestep `diff_iter`.
            until=max(levels - 1 - args["diff_iter"], 0) / levels,
        ),
        RangeLoss(weight=args["range_lambda"]),
    ]
    style = None
    if args["target_image"] is not None:
        style = picture(args["target_image"])
        losses.append(ImageStyleLoss(cls=args["lambda_trg"] * weight, pixels=args["l2_trg_lambda"]))
    else:
        losses.append(
            TextStyleLoss(
                to=args["prompt"],
                from_=args["source"],
                weight=args["clip_guidance_lambda"],
                crops=args["aug_num"],
            )
        )
    return bind(losses, vit=vit(), clip=clips(), style=style), settings


def weights_of_terms(args):
    """Our term -> (its name in the record, the weight it was multiplied with)."""
    return {
        "self_similarity": ("loss_global_ssim", args["lambda_ssim"]),
        "divergence": ("loss_dir_cls", args["lambda_dir_cls"]),
        "style_cls": ("loss_trg", args["lambda_trg"]),
        "style_pixels": ("l2_trg", args["l2_trg_lambda"]),
        "text_style": ("clip_loss", args["clip_guidance_lambda"]),
    }


def replay(name):
    record, data = read_json(name), tensors(name)
    noise = data["noise"] if "noise" in data else tensors("noise_stream")["noise"]
    crops = [crop for step in record["steps"] for crop in step.get("aug", [])]
    rng = Recorded(noise[: record["n_noise"]], crops)
    losses, settings = setup(record)
    steps = list(sample(ddpm(), picture(record["args"]["init_image"]), losses, settings, rng=rng))
    return record, data, rng, steps


def quick_ones_unmarked():
    """DDIM runs have no resampling and stay in the inner loop."""
    return [pytest.param(name, marks=[] if "ddim" in name else pytest.mark.slow) for name in trajectories()]


@pytest.mark.parametrize("name", quick_ones_unmarked())
def test_a_run_is_the_official_codes(name):
    record, data, rng, steps = replay(name)
    assert [step.t for step in steps] == [step["t"] for step in record["steps"]]
    restarts = [bool(step["flag"]) and step["t"] > 0 for step in record["steps"]]
    assert [step.restarted for step in steps] == restarts
    assert not rng.stream
    assert not rng.recorded
    bound = 10 * record["suggested_max_abs_dx_fp32"]
    pictures = {
        "x": torch.cat([step.x_t for step in steps]),
        "final_pred_xstart": steps[-1].pred_xstart,
    }
    for key, ours in pictures.items():
        actual, recorded = matched(data, key, ours)
        assert (actual - recorded).abs().max().item() <= bound, key
    # Gradients and losses are held against the README's bounds where no rounding has piled up: at the first step.
    first, expected = steps[0], record["steps"][0]
    actual, recorded = matched(data, "gradient", torch.cat([-step.gradient for step in steps]))
    assert relative_error(actual[:1], recorded[:1]) < GRADIENT
    for ours_name, (their_name, weight) in weights_of_terms(record["args"]).items():
        if weight > 0 and ours_name in first.terms and expected.get(their_name) is not None:
            value = first.terms[ours_name].item() / weight
            assert value == pytest.approx(expected[their_name], rel=GRADIENT), ours_name


@pytest.mark.slow
def test_colors_are_matched_as_the_official_code_does():
    name = next((n for n in trajectories() if read_json(n)["args"]["use_colormatch"]), None)
    if name is None:
        pytest.skip("this set records no color-matched picture")
    record, data, _, steps = replay(name)
    ours = to_tensor(to_pil(steps[-1].pred_xstart, truncate=True))
    target = to_tensor(to_pil(picture(record["args"]["target_image"])))
    result = to_pil(match_colors(ours[0], target[0]), truncate=True)
    expected = data["saved_png_u8"].squeeze()
    if expected.shape[0] == 3:
        expected = expected.permute(1, 2, 0)
    actual = torch.tensor(list(result.getdata())).reshape(expected.shape)
    assert (actual.int() - expected.int()).abs().max().item() <= 2


@pytest.mark.slow
def test_each_network_runs_once_per_step(monkeypatch):
    name = next(
        n for n in trajectories() if read_json(n)["mode"] == "text" and not read_json(n)["args"]["ddim"]
    )
    forward, backward = Counter(), Counter()

    def count(key, module):
        def hook(_module, inputs, output):
            forward[key] += 1
            tensor = output.cls if hasattr(output, "cls") else output
            if tensor.requires_grad:
                tensor.register_hook(lambda grad: backward.update([key]))

        return module.register_forward_hook(hook)

    handles = [count("unet", ddpm().unet), count("vit", vit())]
    handles += [count(model.name, model) for model in clips()]
    try:
        _, _, _, steps = replay(name)
    finally:
        for handle in handles:
            handle.remove()
    assert forward["unet"] == backward["unet"] == len(steps)
    for key in ["vit", *(model.name for model in clips())]:
        assert forward[key] == len(steps) + 1  # once more for the source
        assert backward[key] <= len(steps)
