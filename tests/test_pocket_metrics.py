"""The metrics against independent computations, and the tasks they measure."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from diffuseit.images.sheet import contact_sheet
from diffuseit.pocket.benchmark import metrics
from diffuseit.pocket.benchmark.run import measure
from diffuseit.pocket.benchmark.tasks import build_tasks, draw_specs
from diffuseit.pocket.models import pocket_judge
from diffuseit.pocket.world.seeds import HELD_OUT, TUNING


@pytest.fixture(scope="module")
def tasks():
    return build_tasks(draw_specs(range(40)))


def test_ssim_is_scikit_images(tasks):
    light, truth = metrics.luminance(tasks.source).double(), metrics.luminance(tasks.truth).double()
    ours = metrics.ssim(tasks.source, tasks.truth)
    for i in range(4):
        theirs = structural_similarity(
            light[i, 0].numpy(), truth[i, 0].numpy(), data_range=1.0, gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False,
        )  # fmt: skip
        assert ours[i].item() == pytest.approx(theirs, abs=1e-6)


def test_edges_count_within_one_pixel():
    picture = -torch.ones(1, 3, 64, 64)
    picture[..., 32:] = 1
    assert metrics.edge_f1(picture, picture).item() == pytest.approx(1)
    assert metrics.edge_f1(picture.roll(1, 2), picture).item() == pytest.approx(1)
    far = -torch.ones(1, 3, 64, 64)
    far[..., 40:] = 1
    assert metrics.edge_f1(far, picture).item() == 0


def test_edge_f1_of_flat_pictures_is_defined():
    flat = torch.zeros(1, 3, 64, 64)
    assert metrics.edge_f1(flat, flat).item() == pytest.approx(1)


def test_mae_is_in_units_of_the_whole_range():
    assert metrics.mae(torch.ones(1, 3, 8, 8), -torch.ones(1, 3, 8, 8)).item() == 1


def test_frechet_distance_of_known_gaussians():
    torch.manual_seed(0)
    x = torch.randn(200_00, 2, dtype=torch.float64)
    scaled = x * torch.tensor([2.0, 3.0]) + torch.tensor([1.0, 0.0])
    assert metrics.frechet_distance(x, scaled) == pytest.approx(1 + 1 + 4, rel=0.05)


def test_frechet_distance_bears_fewer_pictures_than_features():
    features = torch.randn(5, 64)
    assert metrics.frechet_distance(features, features) == pytest.approx(0, abs=1e-6)
    assert metrics.frechet_distance(features, features + 1) == pytest.approx(64, rel=1e-3)


def test_intervals():
    assert metrics.wilson_interval(84, 100) == pytest.approx((0.7558, 0.8990), abs=1e-3)
    assert metrics.wilson_interval(0, 10)[0] == 0 and metrics.wilson_interval(10, 10)[1] == 1
    low, high = metrics.mean_interval(torch.tensor(np.linspace(0, 1, 101)))
    assert low < 0.5 < high
    assert metrics.mean_interval(torch.ones(1)) is None


def test_tasks_are_held_out_and_the_same_every_time(tasks):
    again = build_tasks(draw_specs(range(2, 4)))
    torch.testing.assert_close(again.source, tasks[2:4].source, atol=1e-6, rtol=0)
    torch.testing.assert_close(again.truth, tasks[2:4].truth, atol=1e-6, rtol=0)
    assert all(spec.seed in HELD_OUT and spec.source != spec.target for spec in tasks.specs)
    assert all(spec.seed in TUNING for spec in draw_specs(range(4), TUNING))
    pairs = {(spec.domain, spec.source, spec.target) for spec in draw_specs(range(60))}
    assert len(pairs) == 60


def test_truth_and_ceiling_have_the_style_and_the_structure(tasks):
    judge = pocket_judge()
    for pictures in (tasks.truth, tasks.ceiling, tasks.floor, tasks.style):
        assert (judge(pictures).argmax(1) == tasks.classes).float().mean() > 0.95
    assert (judge(tasks.source).argmax(1) == tasks.classes).float().mean() < 0.05
    ceiling, floor = (metrics.edge_f1(x, tasks.truth).mean() for x in (tasks.ceiling, tasks.floor))
    assert ceiling > 0.8 and floor < ceiling - 0.2


def test_a_contact_sheet_has_every_picture(tasks):
    sheet = contact_sheet({"source": tasks.source[:2], "truth": tasks.truth[:2]}, scale=3)
    assert sheet.width > 2 * 192 and sheet.height > 2 * 192


def test_cheats_lose():
    """Each is far behind the ceiling in some figure. None shows in every figure: the mean picture has the style."""
    tasks, judge = build_tasks(draw_specs(range(12), TUNING)), pocket_judge()
    reference = judge.features(tasks.truth)
    cheats = ("source", "blur", "mean", "floor")
    rows = {name: measure(getattr(tasks, name), tasks, judge, reference) for name in (*cheats, "ceiling")}
    assert rows["source"]["style_success"] == rows["blur"]["style_success"] == 0
    assert rows["mean"]["edge_f1"] < rows["ceiling"]["edge_f1"] / 2 > rows["blur"]["edge_f1"]
    assert rows["floor"]["ssim"] < rows["ceiling"]["ssim"] / 2
    assert rows["mean"]["style_success"] == rows["floor"]["style_success"] == 1
    for cheat in cheats:
        assert rows[cheat]["mae"] > 5 * rows["ceiling"]["mae"]
