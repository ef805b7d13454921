"""Options of a run change time and memory, never the picture."""

from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from losses_alone import guidance

from diffuseit.errors import InputError
from diffuseit.guidance.loop import sample
from diffuseit.guidance.settings import SamplerSettings
from diffuseit.guidance.timetable import Visit
from diffuseit.losses import TextStyleLoss, bind
from diffuseit.methods import DiffuseIT
from diffuseit.performance.memory import LiveBytes
from diffuseit.performance.offload import Offload
from diffuseit.performance.options import FULL_SPEED, LOW_MEMORY, Execution, as_written
from diffuseit.presets import PRESETS

SHORT = SamplerSettings(steps=6, skip=3, resample=1, method=DiffuseIT(step_rule="normalized", step_size=0.5))


def run(models, scene, options=FULL_SPEED):
    losses = PRESETS["pocket-text"].build(models, to="winter landscape", from_="summer landscape")
    return list(sample(models.ddpm, scene, losses, SHORT, 0, options=options))[-1].pred_xstart


@pytest.fixture(scope="module")
def plain(models, scene):
    return run(models, scene)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [LOW_MEMORY, Execution(channels_last=True), Execution(offload=Offload("cpu"))],
    ids=["low memory", "channels last", "offload"],
)
def test_the_picture_stays(models, scene, plain, options):
    torch.testing.assert_close(run(models, scene, options), plain, rtol=0, atol=2e-3)
    assert torch.equal(run(models, scene), plain), "the options of a run ended with it"


@pytest.mark.slow
def test_compiled_networks_give_the_same_picture(models, scene, plain, monkeypatch):
    compiled, calls = [], []

    def backend(graph, _inputs):
        compiled.append(graph)

        def call(*inputs):
            calls.append(graph)
            return graph(*inputs)

        return call

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    torch.testing.assert_close(run(models, scene, Execution(compile=True)), plain, rtol=0, atol=2e-3)
    assert len(compiled) >= 3

    def compiled_calls(forward):
        before = len(calls)
        forward()
        return len(calls) - before

    def forward():
        with torch.no_grad():
            models.ddpm.unet(scene, torch.zeros(1))

    with as_written(models.ddpm):
        assert compiled_calls(forward) == 0
    assert compiled_calls(forward) > 0
    assert compiled_calls(lambda: run(models, scene)) == 0
    assert torch.equal(run(models, scene), plain)


def test_checkpointed_blocks_hold_less_and_give_the_same_gradient(models):
    unet, x = models.ddpm.unet, torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64)
    held, gradients = [], []
    for options in (FULL_SPEED, Execution(checkpoint_unet=True)):
        options.prepare(models.ddpm)
        start = x.clone().requires_grad_()
        with LiveBytes(set()) as live:
            result = unet(start, torch.zeros(1))
            held.append(live.now)
        gradients.append(torch.autograd.grad(result.sum(), start)[0])
    FULL_SPEED.prepare(models.ddpm)
    assert held[1] < held[0]
    torch.testing.assert_close(gradients[0], gradients[1])


@dataclass(frozen=True, kw_only=True)
class AllCropsAtOnce(TextStyleLoss):
    """A text style loss whose value is no mean over crops."""

    def terms(self, source, inputs, features_of):
        return [replace(term, mean_of_crops=False) for term in super().terms(source, inputs, features_of)]


@pytest.mark.parametrize(
    ("kind", "sizes"), [(TextStyleLoss, [2, 2, 1]), (AllCropsAtOnce, [2, 2, 1, 1, 2, 2])]
)
def test_crops_come_a_few_at_a_time_and_once_where_their_mean_counts(models, scene, kind, sizes):
    """A loss that needs all of them has them computed again on the way back."""
    losses = bind([kind(to="winter", weight=1, crops=5)], clip=models.clip)
    few, whole = (guidance(losses, scene, options=Execution(crop_batch=n)) for n in (2, None))
    seen = []
    visual = models.clip.models[0].model.visual
    handle = visual.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    try:
        parts = few.evaluate({"noised": scene}, Visit(0))
    finally:
        handle.remove()
    assert sorted(seen) == sorted(sizes)
    expected = whole.evaluate({"noised": scene}, Visit(0))
    torch.testing.assert_close(parts.terms, expected.terms)
    torch.testing.assert_close(parts.gradients, expected.gradients, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("options", "fault"),
    [({}, "set compile too"), ({"compile": True, "offload": Offload("cpu")}, "stay on the device")],
)
def test_graphs_of_networks_that_cannot_have_them_are_refused(options, fault):
    with pytest.raises(InputError, match=fault):
        Execution(cuda_graphs=True, **options)


@pytest.mark.slow
def test_graphs_are_asked_of_the_compiler_and_each_step_begins_anew(models, scene, plain, monkeypatch):
    modes, steps = [], []

    def compiled(function, mode):
        modes.append(mode)
        return function

    monkeypatch.setattr(torch, "compile", compiled)
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: steps.append(1))
    graphs = run(models, scene, Execution(compile=True, cuda_graphs=True))
    torch.testing.assert_close(graphs, plain, rtol=0, atol=0)
    assert set(modes) == {"reduce-overhead"}
    assert len(steps) == SHORT.steps - SHORT.skip
    run(models, scene, Execution(compile=True))
    assert len(steps) == SHORT.steps - SHORT.skip


def test_a_batch_of_no_crops_is_refused():
    with pytest.raises(InputError, match="crop_batch"):
        Execution(crop_batch=0)
