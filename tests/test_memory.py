"""The memory plan against what autograd really keeps and what is really alive."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from diffuseit.guidance.loop import sample
from diffuseit.guidance.settings import SamplerSettings
from diffuseit.losses import StructureLoss, TextStyleLoss, bind
from diffuseit.methods import DiffuseIT
from diffuseit.models.taesd import TAESD
from diffuseit.performance.memory import (
    Footprint,
    LiveBytes,
    decoder_footprint,
    feature_footprint,
    footprint,
    guidance_bytes,
    offload_bytes,
    run_bytes,
)
from diffuseit.performance.offload import Offload
from diffuseit.performance.options import FULL_SPEED, LOW_MEMORY, Execution
from diffuseit.performance.recompute import blocks_of, recomputed_blocks
from diffuseit.pocket.models import pocket_ddpm
from diffuseit.presets import PRESETS

SHORT = SamplerSettings(steps=4, skip=2, resample=1, method=DiffuseIT(step_rule="normalized"))


def weights(models):
    return storages(models.ddpm, models.vit, *models.clip)


def storages(*networks):
    tensors = [t for n in networks for t in (*n.parameters(), *n.buffers())]
    return {tensor.untyped_storage()._cdata for tensor in tensors}


class Residual(nn.Module):
    def __init__(self, channels, out_channels):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(4, channels), nn.GroupNorm(4, out_channels)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Conv2d(channels, out_channels, 1)

    def forward(self, x):
        # As ComfyUI's, it writes to what the normalization gave.
        hidden = self.conv1(F.silu(self.norm1(x), inplace=True))
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(hidden), inplace=True))


class Attention(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = nn.GroupNorm(4, channels)
        self.qkv, self.out = nn.Conv2d(channels, 3 * channels, 1), nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        parts = self.qkv(self.norm(x)).flatten(2).transpose(1, 2).contiguous()[:, None].chunk(3, dim=-1)
        seen = F.scaled_dot_product_attention(*parts)[:, 0].transpose(1, 2).reshape(x.shape)
        return x + self.out(seen)


class Upsample(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=2.0))


class Decoder(nn.Module):
    """The parts of a KL autoencoder's decoder, with its networks inside and `decode` as the way in."""

    def __init__(self):
        super().__init__()
        self.conv_in = nn.Conv2d(4, 32, 3, padding=1)
        self.middle = nn.ModuleList([Residual(32, 32), Attention(32)])
        self.up = nn.Sequential(Upsample(32), Residual(32, 16), Upsample(16), Residual(16, 16))
        self.conv_out = nn.Conv2d(16, 3, 3, padding=1)

    def decode(self, z):
        hidden = self.conv_in(z)
        for block in self.middle:
            hidden = block(hidden)
        return self.conv_out(self.up(hidden))


LATENT = torch.linspace(-1, 1, 2 * 4 * 16 * 24).view(2, 4, 16, 24)


@pytest.fixture
def decoder():
    torch.manual_seed(0)
    return Decoder().eval().requires_grad_(False)


def gradient(decoder, recompute=False):
    """Return the picture's and the latent's gradient, and the live bytes after the forward pass and at most."""
    latent = LATENT.clone().requires_grad_()
    with LiveBytes({*storages(decoder), latent.untyped_storage()._cdata}) as live:
        if recompute:
            with recomputed_blocks(decoder):
                picture = decoder.decode(latent)
        else:
            picture = decoder.decode(latent)
        held = live.now
        (found,) = torch.autograd.grad(picture.square().sum(), latent)
    return picture.detach(), found, Footprint(held, live.peak)


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


@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
def test_the_bytes_of_a_decoder_are_those_of_a_real_decode_and_pull_back(decoder, recompute):
    *_, real = gradient(decoder, recompute)
    planned = decoder_footprint(decoder, LATENT, recompute)
    assert planned.held == pytest.approx(real.held, rel=0.05)
    # The picture's square and its gradient are no part of the decoder.
    assert planned.peak == pytest.approx(real.peak, rel=0.1)


def test_recomputed_blocks_keep_a_fraction_and_give_the_same_gradient(decoder):
    picture, expected, kept = gradient(decoder)
    again, found, recomputed = gradient(decoder, recompute=True)
    assert torch.equal(again, picture)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-6 * float(expected.abs().max()))
    assert recomputed.held < 0.5 * kept.held
    assert recomputed.peak < 0.8 * kept.peak
    with torch.no_grad(), recomputed_blocks(decoder):
        assert torch.equal(decoder.decode(LATENT), picture)


def test_blocks_are_what_joins_layers_and_single_layers_stay(decoder):
    assert blocks_of(decoder) == [*decoder.middle, *decoder.up]
    assert blocks_of(nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Conv2d(3, 3, 1))) == []


def test_a_decoder_is_as_before_when_recomputing_ends_even_if_it_was_patched_or_fails(decoder):
    block, seen = decoder.up[1], []
    original = block.forward
    block.forward = patched = lambda x: seen.append(x.shape) or original(x)
    latent = LATENT[:, :3].clone().requires_grad_()
    with recomputed_blocks(decoder):
        decoder.decode(LATENT.clone().requires_grad_())
    with pytest.raises(RuntimeError, match="channels"), recomputed_blocks(decoder):
        decoder.decode(latent)
    assert block.forward is patched and len(seen) == 1
    assert not any("forward" in other.__dict__ for other in decoder.modules() if other is not block)


def test_the_bytes_of_a_decoder_grow_with_its_latent_and_shrink_with_its_precision(decoder):
    base = decoder_footprint(decoder, LATENT)
    assert decoder_footprint(decoder, LATENT[:1]).held == pytest.approx(base.held / 2, rel=0.05)
    shrunk = F.avg_pool2d(LATENT, 2)
    assert decoder_footprint(decoder, shrunk).held == pytest.approx(base.held / 4, rel=0.05)
    half = decoder_footprint(decoder.to(torch.bfloat16), LATENT.to(torch.bfloat16))
    assert half.held == pytest.approx(base.held / 2, rel=0.05)


def test_decoders_that_comfyui_loads_or_that_have_no_contents_are_measured_too(decoder):
    expected = decoder_footprint(decoder, LATENT)
    # ComfyUI runs nodes in inference mode.
    with torch.inference_mode():
        loaded = Decoder().eval()
        assert decoder_footprint(loaded, LATENT.clone()) == expected
    with torch.device("meta"):
        shapes = Decoder().eval()
    assert decoder_footprint(shapes, LATENT.to("meta")) == expected
    assert all(parameter.is_meta for parameter in shapes.parameters())


def test_the_decoder_of_a_latent_backbone_is_measured_like_any_other():
    taesd = TAESD(latent_channels=4).eval().requires_grad_(False)
    latent = LATENT[:1]
    expected = decoder_footprint(taesd, latent)
    assert expected.held > 0
    # Modules whose `forward` decodes, as an `Autoencoder` names them; its first layer scales the latent.
    assert decoder_footprint(taesd.taesd_decoder, latent).held == pytest.approx(expected.held, rel=0.05)
    assert decoder_footprint(taesd, latent, recompute=True).held < 0.7 * expected.held


def test_a_gradient_needs_the_graph_and_the_largest_network_that_looks(models):
    clip, vit = models.clip.models[0], models.vit
    graph, size = Footprint(held=1000, peak=2000), (64, 64)
    looks = [feature_footprint(vit, 2, size, 0).peak, feature_footprint(clip, 2, size, 3).peak]
    assert guidance_bytes(graph, [(vit, 0), (clip, 3)], 2, size) == 1000 + max(looks)
    assert guidance_bytes(graph, [], 2, size) == 2000
    deep = Footprint(held=1000, peak=1000 + 2 * max(looks))
    assert guidance_bytes(deep, [(vit, 0), (clip, 3)], 2, size) == deep.peak
    fewer = guidance_bytes(graph, [(clip, 8)], 1, size, Execution(crop_batch=2))
    assert fewer < guidance_bytes(graph, [(clip, 8)], 1, size)
