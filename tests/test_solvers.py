"""Solvers of the unguided tail against diffusers' schedulers, and in a run."""

import dataclasses

import pytest
import torch
from parity_data import relative_error

from diffuseit import api
from diffuseit.errors import InputError
from diffuseit.guidance.loop import SamplerSettings, sample
from diffuseit.guidance.solvers import SOLVERS
from diffuseit.losses import RangeLoss
from diffuseit.models.schedule import make_schedule
from diffuseit.pocket.world.render import render, sample_geometry

TRAINED = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}


def network(x, alpha):
    """eps of a smooth made-up network at abar `alpha`."""
    return torch.sin(2 * x + alpha) * (1 - alpha) ** 0.5 + 0.3 * x


def walk(name, levels, x, noise, eta=0.0):
    """Our solver over `levels` of the full schedule, then to the clean picture."""
    schedule = make_schedule("linear", 1000)
    solver = SOLVERS[name](schedule)
    samples = []
    for index, target, z in zip(levels, [*levels[1:], -1], noise, strict=True):
        eps = network(x, float(schedule.alphas_cumprod[index]))
        x = solver(x, schedule.xstart_from_eps(x, eps, index), index, target, z, eta)
        samples.append(x)
    return samples


@pytest.mark.parametrize("count", [2, 5, 12, 25])
@pytest.mark.parametrize(
    ("name", "scheduler", "options"),
    [
        ("dpm++2m", "DPMSolverMultistepScheduler", {}),
        ("unipc", "UniPCMultistepScheduler", {"solver_order": 2}),
        ("ddim", "DPMSolverMultistepScheduler", {"solver_order": 1}),
    ],
)
def test_steps_are_diffusers(name, scheduler, options, count):
    diffusers = pytest.importorskip("diffusers")
    scheduler = getattr(diffusers, scheduler)(**TRAINED, final_sigmas_type="zero", **options)
    scheduler.set_timesteps(count)
    levels = scheduler.timesteps.tolist()
    generator = torch.Generator().manual_seed(0)
    x, *noise = torch.randn(count + 1, 1, 3, 8, 8, generator=generator, dtype=torch.float64)
    ours = walk(name, levels, x, noise)
    for level, sample_ours in zip(levels, ours, strict=True):
        alpha = float(scheduler.alphas_cumprod[level])
        x = scheduler.step(network(x, alpha), level, x).prev_sample
        assert relative_error(sample_ours, x) < 1e-4


def test_ddim_with_noise_is_diffusers():
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDIMScheduler(**TRAINED, clip_sample=False, set_alpha_to_one=True)
    scheduler.set_timesteps(10)
    levels = scheduler.timesteps.tolist()
    x, *noise = torch.randn(11, 1, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ours = walk("ddim", levels, x, noise, eta=0.7)
    for level, z, sample_ours in zip(levels[:-1], noise, ours, strict=False):
        alpha = float(scheduler.alphas_cumprod[level])
        x = scheduler.step(network(x, alpha), level, x, eta=0.7, variance_noise=z).prev_sample
        assert relative_error(sample_ours, x) < 1e-4


@pytest.fixture(scope="module")
def models():
    return api.load_models("pocket")


@pytest.fixture(scope="module")
def scenes():
    return render(sample_geometry("landscape", [1, 2]), [0, 2], [5, 6])


TAIL = SamplerSettings(steps=24, skip=12, resample=1, method="mpgd", guide_until=0.25, step_size=0.0)


@pytest.mark.slow
@pytest.mark.parametrize("solver", SOLVERS)
def test_few_steps_come_close_to_many(models, scenes, solver):
    """After 3 guided levels, 4 of the other 9 give nearly what all 9 give with plain DDIM."""

    def run(**changes):
        settings = dataclasses.replace(TAIL, eta=0.0, **changes)
        return list(sample(models.ddpm, scenes, [RangeLoss()], settings, 0))

    whole, few = run(), run(solver=solver, tail_steps=4)
    assert [step.index for step in whole] == list(range(11, -1, -1))
    assert [step.index for step in few] == [11, 10, 9, 8, 5, 3, 0]
    assert [bool(step.terms) for step in few] == [True] * 3 + [False] * 4
    assert len(few) == few[0].total == TAIL.visits - 5
    assert (few[-1].pred_xstart - whole[-1].pred_xstart).abs().mean() < 0.03
    assert (whole[-1].pred_xstart - scenes).abs().mean() > 0.03


def test_a_solver_from_the_start_visits_each_level_once():
    settings = SamplerSettings(steps=10, skip=2, resample=4, guide_until=0.0, solver="unipc", tail_steps=3)
    assert settings.levels == [7, 4, 0]
    assert dataclasses.replace(settings, tail_steps=1).levels == [7]


def test_outside_the_mask_the_noise_is_of_the_level_that_comes_next(models, scenes):
    mask = torch.zeros(1, 1, 64, 64)
    settings = dataclasses.replace(TAIL, solver="dpm++2m", tail_steps=3)
    schedule = models.ddpm.schedule(settings.steps)
    for step in sample(models.ddpm, scenes, [RangeLoss()], settings, 0, mask=mask):
        signal, sigma = (
            table[step.index]
            for table in (schedule.sqrt_alphas_cumprod, schedule.sqrt_one_minus_alphas_cumprod)
        )
        assert (step.x_t - float(signal) * scenes).std().item() == pytest.approx(float(sigma), rel=0.05)
        assert torch.equal(step.pred_xstart, scenes)


@pytest.mark.parametrize(
    "settings", [{"solver": "euler"}, {"tail_steps": 3}, {"solver": "unipc", "tail_steps": 0}]
)
def test_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(InputError, match=r"solver|tail_steps"):
        SamplerSettings(**settings)
