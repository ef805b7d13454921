"""Text style: prompts, and an ensemble whose networks take turns."""

import pytest
import torch
from losses_alone import guidance
from tiny_networks import CLIP, picture, tiny_clip_state, tiny_ddpm

from diffuseit.errors import InputError
from diffuseit.guidance.loop import sample
from diffuseit.guidance.settings import SamplerSettings
from diffuseit.guidance.timetable import make_timetable
from diffuseit.losses import TextStyleLoss, bind
from diffuseit.methods import DiffuseIT
from diffuseit.models.clip import CLIPEnsemble, load_clip


@pytest.fixture
def clips():
    return CLIPEnsemble([load_clip(tiny_clip_state(), config=CLIP) for _ in range(3)])


@pytest.mark.parametrize(("rotate", "expected"), [(False, [4, 4, 4]), (True, [2, 1, 1])])
def test_an_ensemble_that_rotates_runs_one_network_a_level(clips, rotate, expected):
    calls = [0, 0, 0]

    def count(number):
        def hook(network, inputs, output):
            calls[number] += output.requires_grad  # without what is known of the source

        return hook

    for number, clip in enumerate(clips):
        clip.model.visual.register_forward_hook(count(number))
    losses = bind([TextStyleLoss(to="winter", weight=1.0, crops=1, rotate=rotate)], clip=clips)
    settings = SamplerSettings(steps=5, skip=1, resample=1, method=DiffuseIT(step_rule="normalized"))
    steps = list(sample(tiny_ddpm(), picture(1, 3, 32, 32), losses, settings, 0))
    assert all("text_style" in step.terms for step in steps)
    assert calls == expected  # levels 3, 2, 1, 0


@pytest.mark.parametrize("level", range(3))
def test_turns_have_the_weight_of_the_whole_ensemble(clips, level):
    """Of equal networks one in its turn gives what all of them give together."""
    source = picture(1, 3, 32, 32)

    def gradient(rotate):
        losses = bind([TextStyleLoss(to="winter", weight=2.0, crops=0, rotate=rotate)], clip=clips)
        visit = make_timetable(levels=3)[level]
        return guidance(losses, source).evaluate({"noised": source.flip(-1)}, visit).gradients["noised"]

    torch.testing.assert_close(gradient(True), gradient(False))


def test_each_picture_of_a_batch_may_have_its_own_prompts(models, pair):
    loss = TextStyleLoss(to=("winter", "night"), from_=("summer", "autumn"), weight=1, crops=0)

    def value(loss, source):
        found = guidance(bind([loss], clip=models.clip), source).evaluate(
            {"noised": source.flip(-1)}, make_timetable(levels=1)[0]
        )
        return found.terms["text_style"]

    alone = torch.cat([value(loss.for_item(i), pair[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(value(loss, pair), alone)
    assert loss.for_item(1).to == "night" and loss.for_item(1).from_ == "autumn"
    with pytest.raises(InputError, match="2 prompts for 1 image"):
        value(loss, pair[:1])


def test_prompts_that_say_nothing_are_refused(clips):
    with pytest.raises(InputError, match="empty"):
        TextStyleLoss(to=" ")
    with pytest.raises(InputError, match="empty"):
        TextStyleLoss(to="winter", from_="")
    with pytest.raises(InputError, match="no prompt"):
        guidance(bind([TextStyleLoss()], clip=clips), picture(1, 3, 32, 32))
