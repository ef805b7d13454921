"""Pictures made by a real server: what changes, what is shown on the way, and what is computed again."""

import numpy as np
import pytest
from comfyui.prompts import VISITS, changed, image_prompt, sampler, text_prompt
from PIL import Image

pytestmark = pytest.mark.comfyui

AFTER_SAMPLER = {"save", "frames", "plot"}


@pytest.fixture(scope="module")
def source(server):
    """a.png as the server sees it."""
    return np.asarray(Image.open(server.base / "input" / "a.png").convert("RGB")).astype(int)


def distance(a, b):
    """Mean difference in levels of 255."""
    return np.abs(a.astype(int) - b.astype(int)).mean()


def test_text_guidance_changes_the_picture_and_shows_the_way(server, source):
    outcome = server.run(text_prompt(seed=100))
    (picture,) = server.images(outcome, "save")
    assert picture.shape == source.shape
    assert distance(picture, source) > 5

    assert outcome.progress["sampler"] == [(number, VISITS) for number in range(1, VISITS + 1)]
    assert len(outcome.previews) == VISITS
    last = outcome.previews[-1].resize((64, 64))
    assert distance(np.asarray(last), picture) < 8, "the preview does not show the picture"

    frames = server.images(outcome, "frames")
    assert len(frames) == VISITS
    assert distance(frames[-1], picture) < 1
    assert distance(frames[0], picture) > 1
    (plot,) = server.images(outcome, "plot")
    blue = (plot[..., 2] > 200) & (plot[..., 0] < 50)
    assert blue[:, 40:].any(axis=0).sum() > 400, "the curve does not run over the graph"


def test_image_guidance_brings_the_look_of_the_style_picture(server, source):
    outcome = server.run(image_prompt(seed=100, step_size=1.0))
    (picture,) = server.images(outcome, "save")
    look = np.asarray(Image.open(server.base / "input" / "b.png").convert("RGB"))

    def colors(image):
        return image.mean(axis=(0, 1))

    assert distance(colors(picture), colors(look)) < 0.5 * distance(colors(source), colors(look))
    assert len(server.images(outcome, "frames")) == VISITS


def test_the_same_prompt_again_computes_nothing(server):
    prompt = text_prompt(seed=101)
    first = server.run(prompt)
    again = server.run(prompt)
    assert not again.executed
    assert set(again.cached) == set(prompt)
    assert again.outputs["save"] == first.outputs["save"]


def test_a_changed_loss_runs_with_what_depends_on_it(server):
    prompt = text_prompt(seed=101)
    first = server.images(server.run(prompt), "save")
    outcome = server.run(changed(prompt, "structure", self_similarity=50.0))
    assert set(outcome.executed) == {"structure", "range", "sampler", *AFTER_SAMPLER}
    assert distance(server.images(outcome, "save"), first) > 1


def test_a_changed_seed_runs_the_sampler_alone(server):
    first = server.images(server.run(text_prompt(seed=101)), "save")
    outcome = server.run(text_prompt(seed=102))
    assert set(outcome.executed) == {"sampler", *AFTER_SAMPLER}
    assert distance(server.images(outcome, "save"), first) > 5


def test_a_seed_gives_its_picture_again_whatever_ran_between(server):
    """The sampler's node id is new, so that nothing comes from the cache."""
    first = server.images(server.run(text_prompt(seed=101)), "save")
    server.run(image_prompt(seed=5))
    again = text_prompt()
    again["another"] = ("DiffuseITSampler", again.pop("sampler")[1] | {"seed": 101, "max_restarts": 4})
    again = {**again, "save": ("SaveImage", {"images": ["another", 0]})}
    del again["frames"], again["plot"]
    outcome = server.run(again)
    assert "another" in outcome.executed
    assert distance(server.images(outcome, "save"), first) == 0


def test_a_bypassed_loss_leaves_the_chain_whole(server):
    """The front end leaves a bypassed node out and links its neighbors."""
    prompt = text_prompt(seed=101)
    first = server.images(server.run(prompt), "save")
    del prompt["structure"]
    outcome = server.run(changed(prompt, "range", previous=["style", 0]))
    assert set(outcome.executed) == {"range", "sampler", *AFTER_SAMPLER}
    assert distance(server.images(outcome, "save"), first) > 1


def test_a_fan_of_losses_equals_the_chain(server):
    chain = text_prompt(seed=101)
    fan = {
        **chain,
        "structure": ("DiffuseITStructureLoss", {"vit": ["vit", 0]}),
        "range": ("DiffuseITRangeLoss", {}),
        "sum": (
            "DiffuseITCombineLosses",
            {f"inputs.losses{i}": [node, 0] for i, node in enumerate(["style", "structure", "range"])},
        ),
        **sampler("sum", seed=101),
    }
    assert distance(*(server.images(server.run(prompt), "save") for prompt in (chain, fan))) == 0


def test_a_fan_may_have_gaps(server):
    prompt = {
        **text_prompt(),
        "range": ("DiffuseITRangeLoss", {}),
        "sum": ("DiffuseITCombineLosses", {"inputs.losses1": ["range", 0]}),
        **sampler("sum", seed=103),
    }
    assert server.run(prompt).outputs["save"]["images"]


def test_other_nodes_may_stand_before_and_behind(server, source):
    """A picture that another node made goes in, and the result through another node out."""
    prompt = text_prompt(seed=104, image=["flipped", 0])
    prompt["flipped"] = ("ImageInvert", {"image": ["source", 0]})
    prompt["back"] = ("ImageInvert", {"image": ["sampler", 0]})
    prompt["save"] = ("SaveImage", {"images": ["back", 0]})
    (picture,) = server.images(server.run(prompt), "save")
    assert 1 < distance(picture, source) < 100


def test_the_losses_of_a_preset_go_with_the_samplers_own_settings(server):
    prompt = {
        **image_prompt(),
        "preset": (
            "DiffuseITPreset",
            {"preset": "pocket-image", "vit": ["vit", 0], "style_image": ["look", 0]},
        ),
        **sampler("preset", seed=105),
    }
    assert len(server.images(server.run(prompt), "frames")) == VISITS


@pytest.mark.slow
def test_the_settings_of_a_preset_replace_the_samplers(server, source):
    from diffuseit.presets import PRESETS

    prompt = {
        **text_prompt(),
        "preset": ("DiffuseITPreset", {"preset": "pocket-text", "vit": ["vit", 0], "clip": ["clip", 0]}),
        **sampler("preset", options=["preset", 1], seed=105, steps=2, skip=2),
    }
    outcome = server.run(prompt)
    visits = len(PRESETS["pocket-text"].sampler.timetable)
    assert len(server.images(outcome, "frames")) == visits
    assert outcome.progress["sampler"][-1] == (visits, visits)
    assert distance(server.images(outcome, "save"), source) > 5


OPTION_NODES = {
    "start": ("DiffuseITStartOptions", {"start_color": 1.0}),
    "guidance": ("DiffuseITGuidanceOptions", {"guide_until": 0.6, "solver": "dpm++2m", "tail_steps": 1}),
    "method": ("DiffuseITMethodOptions", {"step_rule": "freedom"}),
}


def with_options(*names):
    """The text prompt with these option nodes, one behind the other."""
    prompt, last = text_prompt(seed=106), None
    for name in names:
        kind, inputs = OPTION_NODES[name]
        prompt[name] = (kind, inputs if last is None else inputs | {"previous": [last, 0]})
        last = name
    return prompt if last is None else prompt | sampler(seed=106, options=[last, 0])


def test_option_nodes_one_behind_the_other_all_change_the_run(server):
    names = tuple(OPTION_NODES)
    every = [with_options(), *(with_options(name) for name in names), with_options(*names)]
    outcomes = [server.run(prompt) for prompt in every]
    pictures = [server.images(outcome, "save") for outcome in outcomes]
    for number, picture in enumerate(pictures):
        assert all(distance(picture, other) > 0.1 for other in pictures[number + 1 :])
    steps = [len(server.images(outcome, "frames")) for outcome in outcomes]
    assert steps[0] == steps[1] == steps[3] == VISITS
    assert steps[2] == steps[4] < VISITS
    (backwards,) = server.images(server.run(with_options(*reversed(names))), "save")
    assert distance(backwards, pictures[-1]) < 0.1


def test_colors_are_matched_by_the_node(server, source):
    prompt = {
        "source": ("LoadImage", {"image": "a.png"}),
        "look": ("LoadImage", {"image": "b.png"}),
        "match": ("DiffuseITMatchColors", {"image": ["source", 0], "reference": ["look", 0]}),
        "none": (
            "DiffuseITMatchColors",
            {"image": ["source", 0], "reference": ["look", 0], "strength": 0.0},
        ),
        "save": ("SaveImage", {"images": ["match", 0]}),
        "same": ("SaveImage", {"images": ["none", 0]}),
    }
    outcome = server.run(prompt)
    (same,) = server.images(outcome, "same")
    assert (same == source).all()
    assert distance(server.images(outcome, "save"), source) > 5
