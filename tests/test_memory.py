"""The memory plan against what autograd really keeps and what is really alive."""

from dataclasses import replace

import pytest
import torch

from diffuseit.guidance.loop import sample
from diffuseit.guidance.settings import SamplerSettings
from diffuseit.losses import StructureLoss, TextStyleLoss, bind
from diffuseit.methods import DiffuseIT
from diffuseit.performance.memory import LiveBytes, footprint, offload_bytes, run_bytes
from diffuseit.performance.offload import Offload
from diffuseit.performance.options import FULL_SPEED, LOW_MEMORY, Execution
from diffuseit.pocket.models import pocket_ddpm
from diffuseit.presets import PRESETS

SHORT = SamplerSettings(steps=4, skip=2, resample=1, method=DiffuseIT(step_rule="normalized"))


def weights(models):
    networks = [models.ddpm, models.vit, *models.clip]
    tensors = [t for n in networks for t in (*n.parameters(), *n.buffers())]
    return {tensor.untyped_storage()._cdata for tensor in tensors}


@pytest.mark.parametrize("size", [64, 128])
def test_what_is_held_is_what_autograd_keeps(models, size):
    unet, kept = models.ddpm.unet, {}
    own = weights(models)

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return tensor

    x, time = torch.zeros(1, 3, size, size, requires_grad=True), torch.zeros(1)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = unet(x, time)
    actual = sum(storage.nbytes() for storage in kept.values())
    del result
    assert footprint(unet, unet, x.detach(), time).held == pytest.approx(actual, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("options", [FULL_SPEED, LOW_MEMORY], ids=["full speed", "low memory"])
@pytest.mark.parametrize(("batch", "backward_until"), [(1, 1.0), (3, 1.0), (3, 0.0)])
def test_the_plan_is_within_a_fifth_of_a_whole_step(models, options, batch, backward_until):
    losses = PRESETS["pocket-text"].build(models, to="winter landscape", from_="summer landscape")
    source = torch.linspace(-1, 1, batch * 3 * 64 * 64).view(batch, 3, 64, 64)
    crops = next(bound.loss.crops for bound in losses if isinstance(bound.loss, TextStyleLoss))
    looks = [(models.vit, 0), (models.clip.models[0], crops)]
    settings = replace(SHORT, backward_until=backward_until)
    planned = run_bytes(models.ddpm, looks, batch, (64, 64), options, settings.ever_backward)
    steps = sample(models.ddpm, source, losses, settings, 0, options=options)
    next(steps)
    with LiveBytes(weights(models)) as live:
        next(steps)
    assert planned == pytest.approx(live.peak, rel=0.2)


@pytest.mark.slow
def test_planning_leaves_the_networks_alone(models):
    before = [id(parameter) for n in (models.ddpm, models.vit) for parameter in n.parameters()]
    checkpointed = models.ddpm.unet.checkpoint_blocks
    run_bytes(
        models.ddpm, [(models.vit, 0)], 2, (64, 64), replace(LOW_MEMORY, checkpoint_unet=not checkpointed)
    )
    assert [id(parameter) for n in (models.ddpm, models.vit) for parameter in n.parameters()] == before
    assert models.ddpm.unet.checkpoint_blocks == checkpointed
    losses = bind([StructureLoss()], vit=models.vit)
    assert list(sample(models.ddpm, torch.zeros(1, 3, 64, 64), losses, SHORT))


@pytest.mark.slow
def test_more_of_anything_takes_more_and_half_precision_less(models):
    clip = models.clip.models[0]
    base = run_bytes(models.ddpm, [(clip, 3)], 1, (64, 64))
    assert run_bytes(models.ddpm, [(clip, 3)], 2, (64, 64)) > 1.8 * base
    assert run_bytes(models.ddpm, [(clip, 3)], 1, (64, 128)) > base
    assert run_bytes(models.ddpm, [(clip, 9)], 1, (64, 64)) > base
    assert run_bytes(pocket_ddpm(dtype=torch.bfloat16), [(clip, 3)], 1, (64, 64)) < 0.8 * base


def test_networks_that_take_turns_need_room_for_the_largest_and_the_one_after_it():
    small, large, middle = (torch.nn.Linear(n, 1, bias=False) for n in (1, 8, 4))
    networks = [small, large, middle, small]
    for offload, values in ((None, 0), (Offload("cpu", ahead=False), 8), (Offload("cpu"), 12)):
        assert offload_bytes(networks, Execution(offload=offload)) == 4 * values
    assert offload_bytes([], Execution(offload=Offload("cpu"))) == 0
