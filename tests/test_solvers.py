"""Solvers of the unguided tail against diffusers' schedulers, and in a run."""

from dataclasses import replace

import pytest
import torch
from parity_data import relative_error

from diffuseit.guidance.loop import sample
from diffuseit.guidance.settings import SamplerSettings
from diffuseit.guidance.solvers import SOLVERS
from diffuseit.losses import RangeLoss, bind
from diffuseit.methods import MPGD
from diffuseit.models.schedule import make_schedule

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


TAIL = SamplerSettings(steps=24, skip=12, resample=1, method=MPGD(step_size=0.0), guide_until=0.25)


@pytest.mark.slow
@pytest.mark.parametrize("solver", SOLVERS)
def test_few_steps_come_close_to_many(models, pair, solver):
    """After 3 guided levels, 4 of the other 9 give nearly what all 9 give with plain DDIM."""

    def run(**changes):
        settings = replace(TAIL, method=MPGD(step_size=0.0, eta=0.0), **changes)
        return list(sample(models.ddpm, pair, bind([RangeLoss()]), settings, 0))

    whole, few = run(), run(solver=solver, tail_steps=4)
    assert [step.t for step in whole] == list(range(11, -1, -1))
    assert [step.t for step in few] == [11, 10, 9, 8, 5, 3, 0]
    assert [bool(step.terms) for step in few] == [True] * 3 + [False] * 4
    assert len(few) == few[0].total == len(TAIL.timetable) - 5
    assert (few[-1].pred_xstart - whole[-1].pred_xstart).abs().mean() < 0.03
    assert (whole[-1].pred_xstart - pair).abs().mean() > 0.03


def test_outside_the_mask_the_noise_is_of_the_level_that_comes_next(models, pair):
    mask = torch.zeros(1, 1, 64, 64)
    settings = replace(TAIL, solver="dpm++2m", tail_steps=3)
    schedule = models.ddpm.schedule(settings.steps)
    for step in sample(models.ddpm, pair, bind([RangeLoss()]), settings, 0, mask=mask):
        signal, sigma = (
            table[step.t] for table in (schedule.sqrt_alphas_cumprod, schedule.sqrt_one_minus_alphas_cumprod)
        )
        assert (step.x_t - float(signal) * pair).std().item() == pytest.approx(float(sigma), rel=0.05)
        assert torch.equal(step.pred_xstart, pair)
