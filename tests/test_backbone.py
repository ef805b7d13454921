"""What a prediction means, for every kind of network output."""

import warnings
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diffuseit.errors import InputError
from diffuseit.models.base import Backbone
from diffuseit.models.ddpm import DiffusionConfig, PixelDDPM
from diffuseit.models.schedule import Schedule
from diffuseit.models.unet import UNet, UNetConfig

pytestmark = pytest.mark.numeric

SMALL = UNetConfig(
    image_size=8,
    model_channels=16,
    out_channels=3,
    num_res_blocks=1,
    attention_resolutions=(2,),
    channel_mult=(1, 2),
    norm_groups=4,
)
FIXED = DiffusionConfig(variance="fixed_small")


def network(config: UNetConfig = SMALL) -> UNet:
    """A network whose output is no constant."""
    unet = UNet(config).eval()
    generator = torch.Generator().manual_seed(2)
    for parameter in unet.parameters():
        parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return unet


def picture(batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, 8, 8, generator=torch.Generator().manual_seed(4))


class Converted(nn.Module):
    """A network that says what a v network says, in other words."""

    def __init__(self, unet: UNet, schedule: Schedule, prediction: str):
        super().__init__()
        self.unet, self.config, self.schedule, self.prediction = unet, unet.config, schedule, prediction

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        index = self.schedule.timestep_map.index(int(t[0]))
        abar = float(self.schedule.alphas_cumprod[index])
        v = self.unet(x, t, y)
        if self.prediction == "eps":
            return (1 - abar) ** 0.5 * x + abar**0.5 * v
        return abar**0.5 * x - (1 - abar) ** 0.5 * v


@pytest.mark.parametrize("prediction", ["eps", "xstart"])
@pytest.mark.parametrize("index", [0, 5, 19])
def test_predictions_of_equivalent_networks_agree(prediction: Any, index: int) -> None:
    of_v = PixelDDPM(network(), replace(FIXED, prediction="v"))
    schedule = of_v.schedule(20)
    other = PixelDDPM(
        Converted(of_v.unet, schedule, prediction),  # type: ignore[arg-type]
        replace(FIXED, prediction=prediction),
    )
    x = picture()
    with torch.no_grad():
        expected, actual = of_v.predict(x, schedule, index), other.predict(x, schedule, index)
    tolerance = 1e-5 * max(1.0, float(schedule.sqrt_recip_alphas_cumprod[index]))
    torch.testing.assert_close(actual.pred_xstart, expected.pred_xstart, atol=tolerance, rtol=1e-5)
    torch.testing.assert_close(actual.mean, expected.mean, atol=tolerance, rtol=1e-5)
    if index == 19:  # the same words mean something else in another language
        wrong = PixelDDPM(of_v.unet, replace(FIXED, prediction=prediction)).predict(x, schedule, index)
        assert (wrong.pred_xstart - expected.pred_xstart).abs().max() > 0.1


@pytest.mark.parametrize("index", [0, 1, 19])
def test_fixed_variances(index: int) -> None:
    small, large = (PixelDDPM(network(), DiffusionConfig(variance=v)) for v in ("fixed_small", "fixed_large"))
    schedule, x = small.schedule(20), picture()
    after = max(index, 1)  # at step 0 the posterior has no variance: both take the next step's
    assert small.predict(x, schedule, index).log_variance.item() == pytest.approx(
        np.log(schedule.posterior_variance[after])
    )
    expected = schedule.betas[index] if index else schedule.posterior_variance[1]
    assert large.predict(x, schedule, index).log_variance.item() == pytest.approx(np.log(expected))


def test_learned_variance_interpolates_in_log_space() -> None:
    unet = network(replace(SMALL, out_channels=6))
    nn.init.zeros_(unet.out[2].weight)
    model = PixelDDPM(unet)
    schedule, index = model.schedule(20), 7
    low, high = schedule.posterior_log_variance_clipped[index], np.log(schedule.betas[index])
    for value, expected in ((-1.0, low), (1.0, high), (0.0, (low + high) / 2), (3.0, 2 * high - low)):
        unet.out[2].bias.data[3:] = value
        found = model.predict(picture(), schedule, index).log_variance
        assert found.shape == (2, 3, 8, 8)
        torch.testing.assert_close(found, torch.full_like(found, float(expected)))


@pytest.fixture(scope="session")
def script_util() -> ModuleType:
    """guided-diffusion's own `script_util` module, from the development dependency guided-diffusion-sdk."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return pytest.importorskip(
            "guided_diffusion.script_util",
            reason="guided-diffusion-sdk is not installed: it is the reference of this test",
            exc_type=ImportError,
        )


@pytest.mark.parametrize(
    "flags",
    [
        {"learn_sigma": True, "rescale_timesteps": True},
        {"learn_sigma": True, "diffusion_steps": 400, "rescale_timesteps": True, "noise_schedule": "cosine"},
        {"learn_sigma": False, "diffusion_steps": 400},
        {"learn_sigma": False, "predict_xstart": True},
    ],
    ids=str,
)
def test_equals_guided_diffusion(script_util: ModuleType, flags: dict[str, Any]) -> None:
    """Every choice of guided-diffusion's flags against its own `p_mean_variance`."""
    flags = {"diffusion_steps": 1000, **flags}
    theirs = script_util.create_gaussian_diffusion(
        steps=flags["diffusion_steps"],
        timestep_respacing="15",
        **{k: v for k, v in flags.items() if k != "diffusion_steps"},
    )
    model = PixelDDPM(
        network(replace(SMALL, out_channels=6 if flags["learn_sigma"] else 3)),
        DiffusionConfig.from_guided_diffusion(flags),
    )
    schedule, x = model.schedule("15"), picture()
    for index in (0, 6, 14):
        with torch.no_grad():
            actual = model.predict(x, schedule, index)
            expected = theirs.p_mean_variance(model.unet, x, torch.full((2,), index), clip_denoised=False)
        for name, value in (("pred_xstart", actual.pred_xstart), ("mean", actual.mean)):
            torch.testing.assert_close(value, expected[name], rtol=2e-5, atol=2e-5)
        torch.testing.assert_close(
            actual.log_variance.expand_as(x), expected["log_variance"], rtol=2e-5, atol=2e-5
        )


def test_network_timesteps() -> None:
    """The network hears the timesteps it was trained on, on the scale of 1000."""
    quick = DiffusionConfig(train_timesteps=250, variance="fixed_small")
    scaled, plain = (PixelDDPM(UNet(SMALL), replace(quick, rescale_timesteps=r)) for r in (True, False))
    schedule = scaled.schedule(10)
    assert schedule.timestep_map[4] == 111 and schedule.timestep_map[9] == 249
    assert scaled.network_timesteps(schedule, 4, 3).tolist() == [444.0] * 3
    assert plain.network_timesteps(schedule, 4, 3).tolist() == [111.0] * 3
    assert scaled.network_timesteps(schedule, 9, 1).tolist() == [996.0]
    heard = []
    plain.unet.register_forward_pre_hook(lambda _module, arguments: heard.append(arguments[1].tolist()))
    plain.predict(picture(), schedule, 4)
    assert heard == [[111.0, 111.0]]  # once, one for each picture


def test_predict_is_differentiable_and_runs_the_network_once() -> None:
    model = PixelDDPM(network(replace(SMALL, out_channels=6))).double()
    calls = []
    model.unet.register_forward_hook(lambda *_: calls.append(1))
    schedule, x = model.schedule(20), picture(1).double()
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for name in ("pred_xstart", "mean", "log_variance"):
        at = x.clone().requires_grad_()
        value = getattr(model.predict(at, schedule, 9), name)
        assert value.shape == x.shape
        cotangent = torch.ones_like(value)
        (gradient,) = torch.autograd.grad(value, at, cotangent)
        step = 1e-5
        with torch.no_grad():
            ahead, behind = (
                getattr(model.predict(x + s * direction, schedule, 9), name).sum() for s in (step, -step)
            )
        slope = (ahead - behind) / (2 * step)
        # The time enters in float32, so the two slopes differ a little more than float64 alone would.
        torch.testing.assert_close((gradient * direction).sum(), slope, rtol=1e-5, atol=1e-6)
    assert len(calls) == 9


def test_class_labels_reach_the_network() -> None:
    model = PixelDDPM(network(replace(SMALL, num_classes=4)), FIXED)
    schedule, x = model.schedule(10), picture()
    assert model.num_classes == 4
    with torch.no_grad():
        one, other = (model.predict(x, schedule, 5, torch.tensor([0, label])).pred_xstart for label in (0, 3))
    torch.testing.assert_close(one[0], other[0])
    assert (one[1] - other[1]).abs().max() > 1e-3
    with pytest.raises(InputError, match="class"):
        model.predict(x, schedule, 5)


def test_is_a_backbone() -> None:
    model: Backbone = PixelDDPM(UNet(SMALL), FIXED)
    assert (model.image_size, model.size_multiple, model.num_classes) == (8, 2, None)
    assert model.device == torch.device("cpu")
    assert torch.equal(model.decode(model.encode(picture())), picture())
    assert len(model.schedule("")) == 1000 and len(model.schedule("7")) == 7


@pytest.mark.parametrize(
    ("out_channels", "variance"),
    [(3, "learned_range"), (6, "fixed_small"), (6, "fixed_large"), (4, "fixed_small")],
)
def test_output_channels_must_suit_the_variance(out_channels: int, variance: Any) -> None:
    with pytest.raises(InputError, match="output channels"):
        PixelDDPM(UNet(replace(SMALL, out_channels=out_channels)), DiffusionConfig(variance=variance))


@pytest.mark.parametrize(
    "change", [{"prediction": "x0"}, {"variance": "learned"}, {"noise_schedule": "sqrt"}]
)
def test_unknown_kinds(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(change))):
        DiffusionConfig(**change)


def test_size_must_be_a_multiple() -> None:
    model = PixelDDPM(UNet(SMALL), FIXED)
    with pytest.raises(InputError, match="multiples of 2"):
        model.predict(torch.zeros(1, 3, 8, 7), model.schedule(10), 3)
