"""AGG against its official code's runs (tests/parity/agg/README.md)."""

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from parity_data import (
    Recorded,
    agg_trajectories,
    clips,
    ddpm,
    matched,
    picture,
    read_json,
    relative_error,
    tensors,
    vit,
)

from diffuseit.guidance.guidance import Guidance, InnerGuidance
from diffuseit.guidance.loop import Run, predict, sample
from diffuseit.guidance.settings import SamplerSettings
from diffuseit.losses import AnchorLoss, ImageStyleLoss, RangeLoss, StructureLoss, TextStyleLoss, bind
from diffuseit.methods import OfficialAGG, State
from diffuseit.presets import PRESETS

MOST, ALL, SCALAR = 1e-3, 1e-2, 1e-3
"""Bounds of the README: of 99.9 % of the elements, of all, and of numbers."""

NAMES = agg_trajectories()
needs_agg = pytest.mark.skipif(not NAMES, reason="this parity set has no agg/ folder")


def settings_of(record):
    """The official flags as our settings."""
    args, levels = record["args"], record["T"]
    guided = min(max(args["t_edit"] - 1, 0), levels)
    until_boost = min(max(args["t_boost"] - 1, guided), levels)
    method = OfficialAGG(
        start="noise" if args["use_q_sample"] else "inversion",
        eta=(
            (guided / levels, args["eta_edit"]),
            (until_boost / levels, args["eta"]),
            (1.0, args["eta_boost"]),
        ),
        inner_steps=args["inner_iters"],
        inner_rate=args["lr"],
        symmetric=args["both"],
    )
    return SamplerSettings(
        steps=record["num_timesteps"],
        skip=args["skip_timesteps"],
        resample=1,
        method=method,
        view="noised" if args["use_noise_aug_all"] else "pred_xstart",
        guide_until=guided / levels,
    )


def losses_of(args):
    """The official flags as our losses; in text mode its inner iterations leave the ViT out."""
    on = bool(args["vit_lambda"])
    contrast = {name: args[flag] for name, flag in FLAGS.items()}
    networks = {"vit": vit(), "clip": clips()}
    losses = [RangeLoss(weight=args["range_lambda"]), AnchorLoss(weight=args["gt_lambda"])]
    structure = {"self_similarity": args["lambda_ssim"] * on, "contrastive": args["lambda_contra_ssim"] * on}
    if args["target_image"] is None:
        text = TextStyleLoss(
            to=args["prompt"],
            from_=args["source"],
            weight=args["clip_guidance_lambda"],
            crops=args["aug_num"],
            **contrast,
        )
        found = bind([text, StructureLoss(**structure, **contrast), *losses], **networks)
        return [replace(one, inner=not isinstance(one.loss, StructureLoss)) for one in found]
    style = ImageStyleLoss(
        cls=args["lambda_trg"] * on,
        pixels=args["l2_trg_lambda"],
        pixels_view="pred_xstart",
    )
    target = picture(args["target_image"])
    return bind([style, StructureLoss(**structure), *losses], **networks, style=target)


FLAGS = {"progressive_contrast": "use_prog_contrast", "regularize_content": "regularize_content"}


def stream(record, data, start):
    """The recorded noise that a run with this start draws; the official code's first draw is the start's."""
    noise = data["noise"] if "noise" in data else tensors("noise_stream")["noise"]
    return noise[(start == "inversion") : record["n_draws"]]


def replay(name):
    """The recorded run by our sampler, and how often the U-Net ran forward and backward."""
    record, data = read_json(name), tensors(name)
    settings = settings_of(record)
    crops = [crop for step in record["steps"] for crop in step.get("aug", [])]
    rng = Recorded(stream(record, data, settings.method.start), crops)
    source = picture(record["args"]["init_image"])
    calls = Counter()

    def count(_module, inputs, output):
        calls.update(["forward"])
        if output.requires_grad:
            output.register_hook(lambda grad: calls.update(["backward"]))

    handle = ddpm().unet.register_forward_hook(count)
    try:
        steps = list(sample(ddpm(), source, losses_of(record["args"]), settings, rng=rng))
    finally:
        handle.remove()
    assert not rng.stream
    assert not rng.recorded
    return record, data, steps, calls


def is_chaotic(name):
    """Whether the smallest rounding grows beyond the bounds, so that single steps are recorded in full instead."""
    return "x_full_step_t" in tensors(name)


def check(data, name, actual):
    actual, expected = matched(data, name, actual)
    difference = (actual - expected).abs().flatten()
    assert torch.quantile(difference, 0.999).item() <= MOST, name
    assert difference.max().item() <= ALL, name


def recorded_terms(step, args):
    """Our terms of a recorded step, weighted as they are."""
    on = bool(args["vit_lambda"])
    share = 1.0
    if args["target_image"] is None:
        before = step["loss_prev_before"]
        share = 0.5 if args["use_prog_contrast"] and before > -0.5 else 1.0
        share = 2.0 if args["regularize_content"] and before < -0.5 else share
    weights = {
        "text_style": ("clip_loss", args["clip_guidance_lambda"] / share),
        "self_similarity": ("loss_global_ssim", args["lambda_ssim"] * on),
        "contrastive": ("loss_contra_ssim", args["lambda_contra_ssim"] * on * share),
        "style_cls": ("loss_trg", args["lambda_trg"] * on),
        "style_pixels": ("l2_trg", args["l2_trg_lambda"]),
        "range": ("range_loss_unweighted", args["range_lambda"]),
        "anchor": ("gt_l1", args["gt_lambda"]),
    }
    return {
        ours: weight * step[name] for ours, (name, weight) in weights.items() if name in step and weight > 0
    }


@needs_agg
@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if not is_chaotic(name)])
def test_a_run_is_the_official_codes(name):
    record, data, steps, calls = replay(name)
    assert [step.t for step in steps] == [step["t"] for step in record["steps"]]
    assert [step.t for step in steps if step.terms] == record["guided_t"]
    check(data, "x", torch.cat([step.x_t for step in steps]))
    check(data, "final_sample", steps[-1].pred_xstart)
    guided = [step for step in steps if step.terms]
    if any("pred_xstart_after_inner" in key for key in data):
        check(data, "pred_xstart_after_inner", torch.cat([step.pred_xstart for step in guided]))
    first, recorded = matched(data, "gradient", torch.cat([-step.gradient for step in guided]))
    assert relative_error(first[:1], recorded[:1]) < SCALAR
    for step, expected in zip(guided, record["steps"], strict=False):
        terms = recorded_terms(expected, record["args"])
        assert set(step.terms) == set(terms)
        for term, value in terms.items():
            assert step.terms[term].item() == pytest.approx(value, rel=SCALAR, abs=1e-6), term
    # The inversion's last prediction is the run's first, unless the run starts elsewhere.
    assert calls["forward"] == 2 * record["T"] - (settings_of(record).method.start == "inversion")
    assert calls["backward"] == len(record["guided_t"])


def single_steps():
    """(run, index) of the steps whose x and inversion are recorded in full, where the whole run is chaotic."""
    cases = []
    for name in NAMES:
        if is_chaotic(name):
            cases += [(name, int(t)) for t in tensors(name)["x_full_step_t"]]
    return cases


@needs_agg
@pytest.mark.parametrize(("name", "index"), single_steps())
def test_a_step_of_a_chaotic_run_is_the_official_codes(name, index):
    record, data, inversion = read_json(name), tensors(name), tensors("agg/agg_inversion")
    settings, args = settings_of(record), record["args"]
    number = record["T"] - 1 - index
    expected = record["steps"][number]
    rng = Recorded(stream(record, data, "inversion")[number:], expected.get("aug", []))
    backbone, source = ddpm(), picture(args["init_image"])
    guidance = Guidance(losses_of(args), source, backbone, settings, rng)
    guidance._last["text_style"] = torch.tensor([expected["loss_prev_before"]])
    if index < record["T"] - 1:
        kept = inversion["pred_xstart_full_index"].tolist().index(index)
        guidance.anchors[index] = inversion["pred_xstart_full"][kept][None]
    row = data["x_full_step_t"].tolist().index(index)
    x, visit = data["x_full_steps"][row : row + 1], settings.timetable[number]
    run, noise = Run(backbone, guidance, settings, rng, guidance.x_0), rng.noise(source.shape)
    x_t, prediction = predict(run, x, visit, None, graph=True)
    found = guidance.gradient(prediction, x_t, visit)
    state = State(x, prediction.detach(), guidance.schedule, visit.t, noise, visit.level, visit.levels)
    with torch.no_grad():
        move = settings.method.step(state, found.gradient, InnerGuidance(guidance, x, visit))
    actual, wanted = matched(
        {key: value[row : row + 1] for key, value in data.items() if key.startswith("sample_full_steps")},
        "sample_full_steps",
        move.sample,
    )
    assert relative_error(actual, wanted) < SCALAR
    guided = record["guided_t"].index(index)
    pairs = {"gradient": -found.gradient, "pred_xstart_after_gradient": move.pred_xstart}
    for key, ours in pairs.items():  # K = 1: what the inner loop returns is what the gradient gave
        rows = {k: v[guided : guided + 1] for k, v in data.items() if k.startswith(f"{key}_stride")}
        assert relative_error(*matched(rows, key, ours)) < SCALAR, key
    for term, value in recorded_terms(expected, args).items():
        assert found.terms[term].item() == pytest.approx(value, rel=SCALAR, abs=1e-6), term


@needs_agg
@pytest.mark.parametrize(("preset", "mode"), [("official-agg", "text"), ("official-agg-image", "image")])
def test_the_presets_have_the_official_defaults(preset, mode):
    """The recorded run with the defaults says them: weights, optimizer, and what follows from 100 steps, 40 skipped."""
    record = next(r for r in map(read_json, NAMES) if r["mode"] == mode and r["args"]["inner_iters"] == 1)
    args, settings = record["args"], PRESETS[preset].sampler
    models = SimpleNamespace(clip=clips(), vit=vit())
    prompts = {"to": args["prompt"], "from_": args["source"]} if mode == "text" else {}
    style = None if mode == "text" else picture(args["target_image"])
    built = {type(one.loss): one for one in PRESETS[preset].build(models, style=style, **prompts)}
    for wanted in losses_of(args):
        ours = built.get(type(wanted.loss))
        if ours is None:
            assert isinstance(wanted.loss, StructureLoss)
            continue
        loss = wanted.loss
        if isinstance(loss, TextStyleLoss):
            loss = replace(loss, crops=ours.loss.crops)
        assert ours.loss == loss
        assert ours.inner == wanted.inner
        if isinstance(loss, ImageStyleLoss):
            assert torch.equal(ours.inputs["style"], wanted.inputs["style"])
    method, visits = settings.method, settings.timetable
    assert isinstance(method, OfficialAGG) and method.start == "inversion"
    assert len(visits) == 60
    assert [visit.t for visit in visits if visit.guided] == list(range(59, 40, -1))
    etas = [
        method.eta_at(State(None, None, None, visit.t, None, visit.level, visit.levels)) for visit in visits
    ]
    assert set(etas[:39]) == {args["eta_edit"]} == {args["eta"]}
    assert set(etas[39:]) == {args["eta_boost"]}
    assert method.inner_steps == args["inner_iters"]
    assert method.inner_rate == args["lr"]
