"""Correspondences, the loss and the consensus along them, and sequences in windows."""

from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from diffuseit.api import load_models
from diffuseit.correspondence import (
    Agreement,
    Correspondence,
    consensus,
    from_flow,
    from_geometry,
    link_estimated,
    neighbors,
    scene_cuts,
    warp,
)
from diffuseit.correspondence.links import grid
from diffuseit.correspondence.raft import load_raft
from diffuseit.errors import InputError, ModelError
from diffuseit.film import FilmSettings, Frame, link_by_network, translate_sequence
from diffuseit.guidance.loop import sample
from diffuseit.guidance.settings import SamplerSettings
from diffuseit.losses import BoundLoss, ColorStatisticsLoss, CorrespondenceLoss, bind
from diffuseit.losses.correspondence import correspondence_loss
from diffuseit.models.base import Backbone
from diffuseit.models.hub.catalog import entry_named
from diffuseit.pocket.world.canvas import Motion
from diffuseit.pocket.world.moving import shoot
from diffuseit.pocket.world.render import sample_geometry
from diffuseit.pocket.world.seeds import TUNING

SIDE = 32


def panned(count: int, step: int = 2) -> tuple[Tensor, Correspondence]:
    """Frames of a still scene under a camera that moves `step` pixels to the right, and their correspondences."""
    wide = torch.rand(1, 3, SIDE, SIDE + step * count, generator=torch.Generator().manual_seed(1)) * 2 - 1
    frames = torch.cat([wide[..., i * step : i * step + SIDE] for i in range(count)])
    flow = torch.zeros(count - 1, 2, SIDE, SIDE)
    flow[:, 0] = -step
    return frames, from_flow(flow, -flow)


@cache
def _ddpm() -> Backbone:
    return load_models().ddpm


SETTINGS = SamplerSettings(steps=4, skip=1, resample=1)


def color_losses() -> list[BoundLoss]:
    return bind([ColorStatisticsLoss(mean=0.3, covariance=0.3)])


def noise(shape: torch.Size, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_a_warp_shows_the_other_image_at_the_pixels_of_this_one() -> None:
    frames, links = panned(4)
    seen = warp(frames, links)
    sure = links.certainty.expand_as(seen) == 1
    torch.testing.assert_close(seen[sure], frames[list(links.image)][sure])
    # Two columns leave the picture in each step.
    assert links.certainty.mean().item() == pytest.approx((SIDE - 2) / SIDE, abs=1e-4)


def test_pixels_that_the_flow_back_does_not_lead_home_are_uncertain() -> None:
    forward = torch.zeros(1, 2, SIDE, SIDE)
    backward = forward.clone()
    backward[:, 0, 10:20] = 5
    certainty = from_flow(forward, backward).certainty
    assert float(certainty[0, 0, 12:18].max()) == 0
    assert float(certainty[0, 0, :9].min()) == 1


def test_depth_and_poses_give_the_disparity_and_what_is_hidden() -> None:
    # A wall at depth 8, a square at depth 4 before it; the second camera stands 1 to the right: f / z pixels.
    focal, depth = 16.0, torch.full((2, SIDE, SIDE), 8.0)
    depth[0, 10:20, 10:20] = 4
    depth[1, 10:20, 6:16] = 4
    intrinsics = torch.tensor([[focal, 0, 15.5], [0, focal, 15.5], [0, 0, 1]]).expand(2, 3, 3)
    extrinsics = torch.eye(4).repeat(2, 1, 1)
    extrinsics[1, 0, 3] = -1
    links = from_geometry(depth, intrinsics, extrinsics)
    assert links.pairs == [(0, 1), (1, 0)]
    assert links.position[0, 0, 15, 12].item() == pytest.approx(12 - 4, abs=1e-4)
    assert links.position[0, 0, 5, 12].item() == pytest.approx(12 - 2, abs=1e-4)
    assert links.certainty[0, 0, 15, 12].item() == links.certainty[0, 0, 5, 12].item() == 1
    # Wall that the square hides in the second view, and wall that leaves it.
    assert links.certainty[0, 0, 15, 9].item() == 0
    assert float(links.certainty[0, 0, :, :2].max()) == 0


@pytest.mark.parametrize("broken", ["nan", "singular"])
def test_poses_without_inverse_are_refused(broken: str) -> None:
    intrinsics, extrinsics = torch.eye(3).repeat(2, 1, 1), torch.eye(4).repeat(2, 1, 1)
    extrinsics[1, 0] = float("nan") if broken == "nan" else 0
    with pytest.raises(InputError, match="extrinsics of view 1"):
        from_geometry(torch.ones(2, 8, 8), intrinsics, extrinsics)


def test_a_flow_that_is_not_finite_is_refused() -> None:
    with pytest.raises(InputError, match="not finite"):
        from_flow(torch.full((1, 2, 8, 8), float("nan")), torch.zeros(1, 2, 8, 8))


def test_a_consensus_averages_along_paths_and_leaves_the_rest() -> None:
    frames, links = panned(5)
    noisy = frames + 0.1 * noise(frames.shape)
    agreed = consensus(noisy, links, reach=4)
    middle = (slice(None), slice(None), slice(None), slice(10, 22))
    before, after = (noisy - frames)[middle].std(), (agreed - frames)[middle].std()
    assert after < 0.55 * before  # five frames: the deviation falls to 1 / sqrt(5) = .45
    torch.testing.assert_close(consensus(noisy, links, strength=0), noisy)
    hidden = Correspondence(links.image, links.other, links.position, torch.zeros_like(links.certainty))
    torch.testing.assert_close(consensus(noisy, hidden, reach=4), noisy)


def test_predictions_agree_and_finished_images_stay() -> None:
    frames, links = panned(3)
    predictions = frames + 0.1 * noise(frames.shape)
    agree = Agreement(links, strength=1.0, reach=2, finished={0: frames[0]})
    agreed = agree(predictions[1:])
    whole = consensus(torch.cat([frames[:1], predictions[1:]]), links, reach=2)
    torch.testing.assert_close(agreed, whole[1:])


def test_a_run_with_agreement_gives_images_that_agree() -> None:
    frames, links = panned(3)

    def error(agree: Agreement | None) -> float:
        steps = list(sample(_ddpm(), frames, color_losses(), SETTINGS, agree=agree))
        made = steps[-1].pred_xstart
        return float(((warp(made, links) - made[list(links.image)]).abs() * links.certainty).mean())

    assert error(Agreement(links, reach=2)) < 0.2 * error(None)


def test_estimated_flow_finds_a_pan_and_a_cut() -> None:
    pytest.importorskip("cv2")
    pan = torch.stack([3 * torch.arange(4).float(), torch.zeros(4)], dim=1)
    still = torch.zeros(4)
    scene, other = (sample_geometry("landscape", [TUNING.start + i]) for i in (5, 6))
    before = shoot(scene, Motion(pan, still, still)).pictures(0, 1)
    after = shoot(other, Motion(pan, still, still)).pictures(1, 1)
    links = link_estimated(torch.cat([before, after]))
    assert scene_cuts(links) == [4]
    moved = links.position[0, 0] - torch.arange(64).float()
    sure = links.certainty[0, 0] > 0.9
    assert sure.float().mean() > 0.8
    assert float((moved[sure] + 3).abs().median()) < 0.2


def test_images_too_small_for_flow_are_refused() -> None:
    pytest.importorskip("cv2")
    with pytest.raises(InputError, match="8x8 pixels"):
        link_estimated(torch.zeros(2, 3, 8, 8))


def test_the_flow_of_a_network_is_in_pixels_of_the_images_and_doubted_where_colors_differ() -> None:
    sizes = set()

    def pan(before: Tensor, after: Tensor) -> list[Tensor]:
        """A flow of 1/16 of the width, to the right from the darker image and to the left from the lighter one."""
        sizes.add(after.shape[-2:])
        flow = torch.zeros(1, 2, *before.shape[-2:])
        flow[:, 0] = before.shape[-1] / (16 if float(before.mean()) < float(after.mean()) else -16)
        return [torch.full_like(flow, 99.0), flow]

    frames = torch.cat([torch.full((1, 3, 20, 48), value) for value in (-0.02, 0.0, 1.0)])
    links = link_by_network(pan, torch.device("cpu"))(range(3), frames)
    assert sizes == {(128, 128)}
    assert links.pairs == [(0, 1), (1, 2), (1, 0), (2, 1)]
    moved = links.position - grid((20, 48))
    assert moved[:, 0, 5, 5].tolist() == pytest.approx([3, 3, -3, -3])
    assert float(moved[:, 1].abs().max()) == 0
    assert float(links.certainty[0, 0, :, :40].min()) > 0.9
    assert float(links.certainty[1].max()) < 0.1


def test_a_file_of_another_network_is_no_raft(tmp_path: Path) -> None:
    torch.save({"fnet.convnormrelu.0.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ModelError, match=r"other\.pth is not torchvision's raft_large: .* missing"):
        load_raft(tmp_path / "other.pth")


def test_the_weights_of_torchvision_give_its_flow(tmp_path: Path) -> None:
    from torchvision.models.optical_flow import Raft_Large_Weights, raft_large

    torch.manual_seed(0)
    model = raft_large(weights=None).eval()
    torch.save(model.state_dict(), tmp_path / "raft.pth")
    loaded = load_raft(tmp_path / "raft.pth")
    same = zip(model.state_dict().values(), loaded.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    entry = entry_named("raft-large")
    assert entry.url == Raft_Large_Weights.C_T_SKHT_V2.url
    assert entry.file == entry.url.rpartition("/")[2] and entry.file.endswith(f"-{entry.sha256}.pth")
    assert entry.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_slices_correspond_pixel_by_pixel() -> None:
    slices = noise(torch.Size((3, 1, 8, 8)))
    torch.testing.assert_close(consensus(slices, neighbors(3, (8, 8)))[1], slices.mean(0))


def test_correspondences_follow_a_resize() -> None:
    _, links = panned(2, step=4)
    half = links.resized((SIDE // 2, SIDE // 2))
    expected = torch.arange(SIDE // 2).float() - 2
    torch.testing.assert_close(half.position[0, 0, 5], expected)


def test_the_loss_is_the_weighted_squared_difference_and_has_its_gradient() -> None:
    frames, links = panned(3)
    images = (frames + 0.1 * noise(frames.shape)).double().requires_grad_()
    links = links.to(images)
    values = correspondence_loss(images, links, 3)
    seen, own = warp(images, links), images[list(links.image)]
    each = ((own - seen).square() * links.certainty).mean((1, 2, 3))
    expected = torch.stack([each[0], (each[1] + each[2]) / 2, each[3]])
    torch.testing.assert_close(values, expected)
    assert float(correspondence_loss(frames, links.to(frames), 3).max()) < 1e-10
    (gradient,) = torch.autograd.grad(values.sum(), images)
    assert gradient.abs().sum() > 0


def film(frames: Tensor, settings: FilmSettings, **more: object) -> list[Frame]:
    """Translate the frames of `panned`."""

    def link(indices: range, part: Tensor) -> Correspondence:
        flow = torch.zeros(len(part) - 1, 2, *part.shape[-2:])
        flow[:, 0] = -2
        return from_flow(flow, -flow)

    losses = color_losses()
    made = translate_sequence(_ddpm(), iter(frames), losses, SETTINGS, film=settings, link=link, **more)  # type: ignore[arg-type]
    return list(made)


@pytest.fixture(scope="module")
def whole() -> tuple[Tensor, list[Frame]]:
    frames, _ = panned(7)
    return frames, film(frames, FilmSettings(window=7, reach=1))


def test_the_window_hardly_matters(whole: tuple[Tensor, list[Frame]]) -> None:
    frames, once = whole
    parts = film(frames, FilmSettings(window=3, reach=1))
    assert [frame.index for frame in parts] == list(range(7))
    one, other = (torch.stack([frame.picture for frame in made]) for made in (once, parts))
    # The tolerance that docs/film.md states, of a range of 2.
    assert float((one - other).abs().mean()) < 0.04


def test_without_agreement_during_the_run_the_window_does_not_matter_at_all() -> None:
    frames, _ = panned(5)
    one, other = (
        torch.stack([frame.picture for frame in film(frames, FilmSettings(window=n, reach=1, during=0))])
        for n in (5, 2)
    )
    torch.testing.assert_close(one, other, atol=1e-3, rtol=0)


def test_an_interrupted_run_goes_on(whole: tuple[Tensor, list[Frame]]) -> None:
    frames, once = whole
    done = {frame.index: frame.picture for frame in once[:4]}
    rest = film(frames[2:], FilmSettings(window=3, reach=1), first=2, finished=done.get)
    assert [frame.index for frame in rest] == [4, 5, 6]
    assert float((rest[0].picture - once[4].picture).abs().mean()) < 0.06


def test_a_scene_cut_ends_the_chain_and_is_reported() -> None:
    frames, _ = panned(4)
    flow = torch.zeros(3, 2, SIDE, SIDE)
    flow[1, 0] = 3.0 * torch.randn(SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    links = from_flow(flow, torch.zeros_like(flow))
    made = translate_sequence(
        _ddpm(),
        iter(frames),
        color_losses(),
        SETTINGS,
        film=FilmSettings(window=4),
        link=lambda indices, part: links,
    )
    assert [frame.cut for frame in made] == [False, False, True, False]


def test_the_warp_error_is_the_difference_along_the_flow() -> None:
    frames, _ = panned(4)
    settings = FilmSettings(window=2, reach=1, during=0)
    made = film(frames, settings)
    assert made[0].warp_error is None
    for before, after in pairwise(made):
        apart = (after.picture[..., :-2] - before.picture[..., 2:]).abs().mean() / 2
        assert after.warp_error == pytest.approx(float(apart), rel=1e-3)
    # The first frame of another run is compared with what is finished.
    other = -frames
    again = film(frames, settings, finished=lambda index: other[index] if index < 2 else None)
    apart = (again[0].picture[..., :-2] - other[1, ..., 2:]).abs().mean() / 2
    assert again[0].warp_error == pytest.approx(float(apart), rel=1e-3)


def test_memory_does_not_grow_with_the_film() -> None:
    alive = 0

    def frames() -> Iterator[Tensor]:
        nonlocal alive
        for i in range(10):
            alive = i + 1
            yield torch.full((3, SIDE, SIDE), i / 10)

    made = translate_sequence(
        _ddpm(),
        frames(),
        color_losses(),
        SETTINGS,
        film=FilmSettings(window=2, reach=1),
        link=lambda indices, part: neighbors(len(part), (SIDE, SIDE)),
    )
    for frame in made:
        assert alive <= frame.index + 4  # the frames that are read ahead


def test_frames_of_several_sizes_are_refused_by_number() -> None:
    frames = [torch.zeros(3, SIDE, SIDE), torch.zeros(3, SIDE, 2 * SIDE)]
    with pytest.raises(InputError, match="frame 1 has 64x32"):
        list(translate_sequence(_ddpm(), iter(frames), color_losses(), SETTINGS))


def test_a_film_without_frames_is_refused() -> None:
    with pytest.raises(InputError, match="no frames"):
        list(translate_sequence(_ddpm(), iter(()), color_losses(), SETTINGS))


def test_restarts_are_refused_with_the_loss() -> None:
    frames, links = panned(2)
    losses = bind([CorrespondenceLoss()], correspondence=links)
    settings = SamplerSettings(steps=2, skip=0, resample=1, restart_above=0.1)
    steps = sample(_ddpm(), frames, losses, settings)
    with pytest.raises(InputError, match="restart"):
        next(steps)
