"""Schedules against the official tables, and what users type as respacing."""

import math

import numpy as np
import pytest
import torch
from parity_data import SCHEDULE, parity_set, tensors

from diffuseit.errors import InputError
from diffuseit.models.ddpm import DiffusionConfig
from diffuseit.models.schedule import (
    Schedule,
    cosine_betas,
    linear_betas,
    make_schedule,
    named_betas,
    space_timesteps,
)

pytestmark = pytest.mark.numeric

PROCESS = DiffusionConfig.from_guided_diffusion(parity_set().config["model_config"])
RECORDED = sorted(tensors("schedule"))
RESPACINGS = sorted({key.split("/")[0] for key in RECORDED})


@pytest.mark.parametrize("respacing", RESPACINGS)
def test_every_recorded_table(respacing: str) -> None:
    schedule = make_schedule(PROCESS.noise_schedule, PROCESS.train_timesteps, respacing)
    assert len(schedule) == parity_set().config["schedule"][respacing]["num_timesteps"]
    names = [key.split("/")[1] for key in RECORDED if key.startswith(f"{respacing}/")]
    assert {"betas", "alphas_cumprod", "timestep_map"} <= set(names)
    for name in names:
        if name == "unscaled_in_cond_fn":  # a habit of the official loop, not a table: we use the loop index
            continue
        expected = tensors("schedule")[f"{respacing}/{name}"].numpy()
        actual = np.asarray(getattr(schedule, name))
        assert actual.shape == expected.shape
        np.testing.assert_allclose(actual, expected, rtol=SCHEDULE, atol=0, err_msg=name)


def test_respacing_keeps_alphas_cumprod() -> None:
    full, respaced = make_schedule("cosine", 1000), make_schedule("cosine", 1000, "37,3")
    kept = list(respaced.timestep_map)
    assert len(kept) == 40 and sum(t < 500 for t in kept) == 37
    # The cosine ends at 2e-9, and betas near 1 hold 16 digits of 1, not of what is left of it.
    np.testing.assert_allclose(respaced.alphas_cumprod, full.alphas_cumprod[kept], rtol=1e-9, atol=1e-15)
    assert full.timestep_map == tuple(range(1000))


def test_cosine_is_the_squared_cosine() -> None:
    betas = cosine_betas(50)
    assert betas.max() == 0.999 and (betas > 0).all()
    clean = math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    halfway = math.cos((0.5 + 0.008) / 1.008 * math.pi / 2) ** 2
    assert np.cumprod(1 - betas)[24] == pytest.approx(halfway / clean, rel=1e-12)


def test_linear_scales_with_the_number_of_steps() -> None:
    assert linear_betas(1000)[[0, -1]] == pytest.approx([1e-4, 0.02], rel=1e-12)
    assert linear_betas(250)[[0, -1]] == pytest.approx([4e-4, 0.08], rel=1e-12)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", ["linear", "cosine"])
@pytest.mark.parametrize("steps", [1000, 100])
def test_betas_of_guided_diffusion(name: str, steps: int) -> None:
    reference = pytest.importorskip("guided_diffusion.gaussian_diffusion", exc_type=ImportError)
    expected = reference.get_named_beta_schedule(name, steps)
    np.testing.assert_allclose(named_betas(name, steps), expected, rtol=SCHEDULE, atol=0)


@pytest.mark.parametrize("respacing", ["1", "7", "ddim10", "1000", "5,4,3", "334,333,333"])
def test_posterior_by_bayes(respacing: str) -> None:
    """q(x_{t-1} | x_t, x_0) from the product of the two Gaussians that make it."""
    s = make_schedule("linear", 1000, respacing)
    prior_variance = 1 - s.alphas_cumprod_prev[1:]
    precision = (1 - s.betas[1:]) / s.betas[1:] + 1 / prior_variance
    np.testing.assert_allclose(s.posterior_variance[1:], 1 / precision, rtol=1e-9)
    from_start = np.sqrt(s.alphas_cumprod_prev[1:]) / prior_variance / precision
    from_x_t = np.sqrt(1 - s.betas[1:]) / s.betas[1:] / precision
    np.testing.assert_allclose(s.posterior_mean_coef1[1:], from_start, rtol=1e-9)
    np.testing.assert_allclose(s.posterior_mean_coef2[1:], from_x_t, rtol=1e-9)
    # At the last step the mean is x_0 itself and nothing is left to chance.
    assert s.posterior_variance[0] == 0
    assert s.posterior_mean_coef1[0] == pytest.approx(1, rel=1e-12) and s.posterior_mean_coef2[0] == 0
    assert np.isfinite(s.posterior_log_variance_clipped).all()


@pytest.mark.parametrize("index", [0, 12, 49])
def test_parameterizations_agree(index: int) -> None:
    s = make_schedule("linear", 1000, 50)
    generator = torch.Generator().manual_seed(1)
    x_start, eps = torch.randn(2, 2, 3, 4, 4, generator=generator, dtype=torch.float64)
    x_t = s.q_sample(x_start, index, eps)
    abar = float(s.alphas_cumprod[index])
    torch.testing.assert_close(x_t, math.sqrt(abar) * x_start + math.sqrt(1 - abar) * eps)
    torch.testing.assert_close(s.xstart_from_eps(x_t, eps, index), x_start)
    torch.testing.assert_close(s.eps_from_xstart(x_t, x_start, index), eps)
    v = math.sqrt(abar) * eps - math.sqrt(1 - abar) * x_start
    torch.testing.assert_close(s.xstart_from_v(x_t, v, index), x_start)
    assert s.q_sample(x_start.float(), index, eps.float()).dtype == torch.float32
    mean = s.posterior_mean_coef1[index] * x_start + s.posterior_mean_coef2[index] * x_t
    torch.testing.assert_close(s.posterior_mean(x_start, x_t, index), mean)


def test_space_timesteps() -> None:
    assert space_timesteps(1000, "ddim25") == list(range(0, 1000, 40))
    assert space_timesteps(1000, "1") == [0]
    assert space_timesteps(10, "4") == [0, 3, 6, 9]
    assert space_timesteps(10, "2, 3") == [0, 4, 5, 7, 9]  # whitespace as people type it
    assert space_timesteps(11, "6,5") == list(range(11))  # the first section takes the remainder
    assert make_schedule("linear", 1000, 20).timestep_map == make_schedule("linear", 1000, "20").timestep_map


@pytest.mark.parametrize(
    "respacing",
    ["0", "-5", "1001", "ten", "10.5", "1e2", "10,", "501,1", "ddim", "ddim0", "ddim999", "ddimx", 0, "²"],
)
def test_impossible_respacings(respacing: str | int) -> None:
    with pytest.raises(InputError):
        make_schedule("linear", 1000, respacing)


def test_unknown_schedule() -> None:
    with pytest.raises(InputError, match="cosine"):
        make_schedule("sigmoid", 1000)  # type: ignore[arg-type]


def test_one_step() -> None:
    schedule = make_schedule("linear", 1000, 1)
    assert isinstance(schedule, Schedule) and len(schedule) == 1
    assert schedule.posterior_log_variance_clipped[0] == pytest.approx(math.log(schedule.betas[0]))
