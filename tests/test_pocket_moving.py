"""Moving pictures of the pocket world: the flow is that of the pictures, and depth and poses say the same."""

import pytest
import torch

from diffuseit.correspondence import from_geometry, warp
from diffuseit.pocket.world.canvas import Motion
from diffuseit.pocket.world.moving import Shot, shoot
from diffuseit.pocket.world.render import SIZE, STYLES, View, render, sample_geometry
from diffuseit.pocket.world.seeds import TUNING

COUNT = 4
TIME = torch.arange(COUNT).float() - 1.5
STILL = torch.zeros(COUNT, 2)


def shot(domain: str, motion: Motion, view: View | None = None) -> Shot:
    return shoot(sample_geometry(domain, [TUNING.start + 5]), motion, view)


def test_without_motion_nothing_changes() -> None:
    scene = sample_geometry("landscape", [TUNING.start + 5])
    still = shoot(scene, Motion(torch.zeros(1, 2), torch.zeros(1), torch.zeros(1)))
    for style in range(len(STYLES["landscape"])):
        assert torch.equal(still.pictures(style, 7), render(scene, [style], [7]))


def test_a_pan_of_whole_pixels_shifts_the_picture() -> None:
    pan = torch.stack([3 * torch.arange(COUNT).float(), torch.zeros(COUNT)], dim=1)
    one = shot("landscape", Motion(pan, 0 * TIME, 0 * TIME))
    pictures = one.pictures(0, 7)
    torch.testing.assert_close(pictures[1:, ..., :-3], pictures[:-1, ..., 3:], atol=1e-4, rtol=0)
    torch.testing.assert_close(one.flow([0], [1])[0, 0], torch.full((SIZE, SIZE), -3.0))


@pytest.mark.parametrize("domain", ["landscape", "animal"])
@pytest.mark.parametrize("view", [None, View(2 * SIZE, 2.0)])
def test_the_flow_is_that_of_the_pictures(domain: str, view: View | None) -> None:
    pan = torch.stack([0.7 * TIME, 0.2 * TIME], dim=1)
    one = shot(domain, Motion(pan, 1.5 * TIME, TIME), view)
    links, plain = one.neighbors(), one.plain()
    for style in range(len(STYLES[domain])):
        pictures = one.pictures(style, 7)
        sure = (links.certainty > 0.99) * plain[list(links.image)]
        difference = (warp(pictures, links) - pictures[list(links.image)]).abs().mean(1, keepdim=True) / 2
        error = float((difference * sure).sum() / sure.sum())
        unmoved = float((pictures[1:] - pictures[:-1]).abs().mean()) / 2
        assert error < 0.009 and error < 0.6 * unmoved
    assert 0.6 < float(links.certainty.mean()) < 1


def test_what_is_nearer_hides_what_is_farther() -> None:
    one = shot("landscape", Motion(STILL, 3 * TIME, 0 * TIME))
    links = one.links([(0, 1)])
    gone = (links.certainty == 0) & (links.position[:, :1] > 0) & (links.position[:, :1] < SIZE - 1)
    there = one.seen.number[1].float()
    column, row = (links.position[0, axis].round().long().clamp(0, SIZE - 1) for axis in (0, 1))
    hidden = gone[0, 0] & (there[row, column] != one.seen.number[0])
    assert hidden.any()
    # The layers are painted back to front.
    assert (there[row, column] > one.seen.number[0])[hidden].float().mean() > 0.5


def test_depth_and_poses_give_the_same_correspondences() -> None:
    one = shot("landscape", Motion(0.5 * TIME[:, None].expand(-1, 2), 2 * TIME, 0 * TIME))
    exact, found = one.neighbors(), from_geometry(one.depth(), *one.cameras())
    both = (exact.certainty > 0.9) & (found.certainty > 0.9)
    assert float(both.float().mean()) > 0.7
    assert float(((exact.position - found.position).abs() * both).max()) < 0.05
