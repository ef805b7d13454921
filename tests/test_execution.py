"""Options of execution change time and memory, never the picture; half precision only a little."""

from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch

from diffuseit.api import load_models
from diffuseit.errors import InputError
from diffuseit.guidance.guidance import Objective
from diffuseit.guidance.loop import SamplerSettings, sample
from diffuseit.guidance.rng import Seeded
from diffuseit.losses import ImageStyleLoss, StructureLoss, TextStyleLoss
from diffuseit.performance import cache
from diffuseit.performance import offload as turns
from diffuseit.performance.memory import _LiveBytes
from diffuseit.performance.offload import OneAtATime
from diffuseit.performance.options import FULL_SPEED, LOW_MEMORY, Execution, as_written
from diffuseit.pocket.models import pocket_clip, pocket_ddpm, pocket_vit
from diffuseit.pocket.world.render import render, sample_geometry
from diffuseit.presets import PRESETS

SHORT = SamplerSettings(steps=6, skip=3, resample=1, step_rule="normalized", step_size=0.5)


@pytest.fixture(scope="module")
def models():
    return load_models("pocket")


@pytest.fixture(scope="module")
def scene():
    return render(sample_geometry("landscape", [1]), [0], [5])


def run(models, scene, execution=FULL_SPEED):
    losses = PRESETS["pocket-text"].build(models, to="winter landscape", from_="summer landscape")
    return list(sample(models.ddpm, scene, losses, SHORT, 0, execution=execution))[-1].pred_xstart


@pytest.fixture(scope="module")
def plain(models, scene):
    return run(models, scene)


@pytest.mark.slow
@pytest.mark.parametrize(
    "execution", [LOW_MEMORY, Execution(channels_last=True), Execution(turn=OneAtATime("cpu"))], ids=str
)
def test_the_picture_stays(models, scene, plain, execution):
    torch.testing.assert_close(run(models, scene, execution), plain, rtol=0, atol=2e-3)
    assert torch.equal(run(models, scene), plain), "the options of a run ended with it"


@pytest.mark.slow
def test_compiled_networks_give_the_same_picture(models, scene, plain, monkeypatch):
    calls = []

    def backend(graph, _inputs):
        calls.append(graph)
        return graph

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    torch.testing.assert_close(run(models, scene, Execution(compile=True)), plain, rtol=0, atol=2e-3)
    assert len(calls) >= 3
    with as_written(models.ddpm):
        assert models.ddpm.unet._compiled_call_impl is None
    assert models.ddpm.unet._compiled_call_impl is not None
    assert torch.equal(run(models, scene), plain)
    assert models.ddpm.unet._compiled_call_impl is None


def test_checkpointed_blocks_hold_less_and_give_the_same_gradient(models):
    unet, x = models.ddpm.unet, torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64)
    held, gradients = [], []
    for execution in (FULL_SPEED, Execution(checkpoint_unet=True)):
        execution.prepare(models.ddpm)
        start = x.clone().requires_grad_()
        with _LiveBytes(set()) as live:
            result = unet(start, torch.zeros(1))
            held.append(live.now)
        gradients.append(torch.autograd.grad(result.sum(), start)[0])
    FULL_SPEED.prepare(models.ddpm)
    assert held[1] < held[0]
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize(("apart", "sizes"), [(True, [2, 2, 1]), (False, [2, 2, 1, 1, 2, 2])])
def test_crops_come_a_few_at_a_time_and_once_where_their_mean_counts(models, scene, apart, sizes):
    """A loss that needs all of them has them computed again on the way back."""

    @dataclass(frozen=True)
    class Together:
        loss: TextStyleLoss

        def bind(self, source, features_of):
            return [replace(term, mean_of_crops=apart) for term in self.loss.bind(source, features_of)]

    loss = Together(TextStyleLoss(clip=models.clip, to="winter", weight=1, crops=5))
    few, whole = (Objective([loss], scene, "noised", Execution(crop_batch=n)) for n in (2, None))
    seen = []
    visual = models.clip.models[0].model.visual
    handle = visual.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    try:
        parts = few.evaluate({"noised": scene}, 0, Seeded(0, 1))
    finally:
        handle.remove()
    assert sorted(seen) == sorted(sizes)
    expected = whole.evaluate({"noised": scene}, 0, Seeded(0, 1))
    torch.testing.assert_close(parts.terms, expected.terms)
    torch.testing.assert_close(parts.gradients, expected.gradients, rtol=1e-4, atol=1e-7)


class Watched(OneAtATime):
    """Writes down who is expected, who has a turn, and when it ends."""

    def __init__(self, log, **options):
        super().__init__("cpu", **options)
        self.log, self.present = log, set()

    @contextmanager
    def __call__(self, network):
        with super().__call__(network):
            self.log.append(("begins", network))
            self.present.add(network)
            yield
            self.present.remove(network)
            self.log.append(("ends", network))

    def expect(self, network):
        self.log.append(("expected", network))
        super().expect(network)


def test_each_network_has_its_turn_and_only_then(models, scene):
    turn, seen = Watched([]), []
    networks = [models.vit, *models.clip]
    handles = [
        network.register_forward_pre_hook(
            lambda module, _: seen.append((module in turn.present, len(turn.present)))
        )
        for network in networks
    ]
    try:
        run(models, scene, Execution(turn=turn))
    finally:
        for handle in handles:
            handle.remove()
    assert set(seen) == {(True, 1)}


def test_the_next_network_is_expected_before_its_turn_the_first_before_the_diffusion_model_runs(
    models, scene
):
    log = []
    turn = Watched(log)
    (clip,) = models.clip
    handle = models.ddpm.unet.register_forward_pre_hook(lambda *_: log.append(("runs", models.ddpm.unet)))
    try:
        run(models, scene, Execution(turn=turn))
    finally:
        handle.remove()
    steps = log[log.index(("runs", models.ddpm.unet)) - 1 :]
    assert steps == (SHORT.steps - SHORT.skip) * [
        ("expected", clip),
        ("runs", models.ddpm.unet),
        ("begins", clip),
        ("expected", models.vit),
        ("ends", clip),
        ("begins", models.vit),
        ("ends", models.vit),
    ]


def places(network):
    return [tensor.data_ptr() for tensor in (*network.parameters(), *network.buffers())]


def test_a_network_computes_with_a_copy_in_its_turn_and_rests_where_it_was(monkeypatch):
    """The copy is made when the network is expected; what is remembered of the network holds on."""
    made = []

    def fetched(tensors, device):
        made.append(len(tensors))
        return [tensor.data.clone() for tensor in tensors], None

    monkeypatch.setattr(turns, "_fetched", fetched)
    network, other = torch.nn.BatchNorm1d(2).eval(), torch.nn.Linear(2, 2)
    rest, versions = places(network), [tensor._version for tensor in network.parameters()]
    turn = OneAtATime("cpu")
    turn.expect(network)
    assert made == [5] and places(network) == rest
    with turn(network):
        assert made == [5] and not set(places(network)) & set(rest)
        turn.expect(network)
        turn.expect(other)
        assert made == [5, 2]
    assert places(network) == rest
    with pytest.raises(ZeroDivisionError), turn(network):
        raise ZeroDivisionError
    assert made == [5, 2, 5], "it came in place of the one that was expected"
    assert places(network) == rest
    assert [tensor._version for tensor in network.parameters()] == versions


def test_nobody_comes_ahead_where_memory_is_short(monkeypatch):
    made = []
    monkeypatch.setattr(turns, "_fetched", lambda tensors, device: (made.append(device), None))
    OneAtATime("cpu", ahead=False).expect(torch.nn.Linear(2, 2))
    assert made == []


@pytest.mark.parametrize(
    ("options", "fault"),
    [({}, "set compile too"), ({"compile": True, "turn": OneAtATime("cpu")}, "stay on the device")],
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


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_comes_close_and_its_features_are_float32(models, scene, plain, dtype):
    half = replace(
        models, ddpm=pocket_ddpm(dtype=dtype), vit=pocket_vit(dtype=dtype), clip=pocket_clip(dtype=dtype)
    )
    assert {p.dtype for p in half.vit.model.parameters()} == {dtype}
    features, whole = half.vit(scene), models.vit(scene)
    assert features.keys.dtype == features.cls.dtype == torch.float32
    assert (features.cls - whole.cls).norm() < 0.03 * whole.cls.norm()
    clip, full = half.clip.models[0], models.clip.models[0]
    assert clip(scene).dtype == clip.encode_prompt("winter").dtype == torch.float32
    assert (clip(scene) * full(scene)).sum() > 0.999
    assert (run(half, scene) - plain).abs().mean() < 0.05


def test_small_gradients_survive_float16(models, scene):
    """Weights of 1e-9 are far below what float16 can hold on its way through a network."""
    half = replace(
        models, ddpm=pocket_ddpm(dtype=torch.float16), vit=pocket_vit(dtype=torch.float16), clip=pocket_clip()
    )
    target = scene.flip(-1)

    def gradient(models):
        losses = [
            ImageStyleLoss(vit=models.vit, target=target, cls=1e-9, pixels=0),
            StructureLoss(vit=models.vit, self_similarity=1e-9, contrastive=1e-10),
        ]
        return next(sample(models.ddpm, scene, losses, SHORT, 0)).gradient.flatten()

    whole = gradient(models)
    assert 0 < (gradient(half) - whole).norm() < 0.1 * whole.norm()


def count(network):
    calls = []
    return calls, network.register_forward_hook(lambda *_: calls.append(1))


def test_features_outlive_a_run_and_go_by_content(models, scene):
    losses = [TextStyleLoss(clip=models.clip, to="winter", weight=1)]
    clip = models.clip.models[0]
    calls, handle = count(clip)
    prompts = []
    clip.encode_prompt, written = lambda text: prompts.append(text) or written(text), clip.encode_prompt
    try:
        Objective(losses, scene, "noised")
        Objective(losses, scene.clone(), "noised")
        assert (len(calls), prompts) == (1, ["winter"])
        Objective(losses, scene + 0.01, "noised")
        Objective([replace(losses[0], to="autumn")], scene, "noised")
        assert (len(calls), prompts) == (2, ["winter", "autumn"])
    finally:
        handle.remove()
        del clip.encode_prompt


def test_a_changed_network_is_asked_again(scene):
    vit = pocket_vit()
    calls, _ = count(vit)
    first = cache.features(vit, scene)
    assert torch.equal(cache.features(vit, scene).keys, first.keys) and len(calls) == 1
    vit.layer = 0
    assert not torch.equal(cache.features(vit, scene).keys, first.keys)
    vit.layer = -1
    assert len(calls) == 2
    with torch.no_grad():
        vit.model.cls_token.add_(1)
    assert not torch.equal(cache.features(vit, scene).cls, first.cls)
    vit.model.load_state_dict(pocket_vit().model.state_dict(), assign=True)
    torch.testing.assert_close(cache.features(vit, scene).cls, first.cls)
    assert len(calls) == 4


def test_what_is_remembered_has_a_bound(scene, monkeypatch):
    vit = pocket_vit()
    cache.features(vit, scene)
    (entry,) = cache._SHELVES[vit].features.values()
    monkeypatch.setattr(cache, "LIMIT_BYTES", 2 * cache._bytes(entry))
    calls, _ = count(vit)
    pictures = [scene + shift for shift in (0.1, 0.2, 0.3)]
    for picture in pictures:
        cache.features(vit, picture)
    cache.features(vit, pictures[2])
    assert len(calls) == 3
    cache.features(vit, pictures[0])
    assert len(calls) == 4
