"""The verdict on a result: what it says, that it never fails a run, and where it is kept."""

import json

import pytest
import torch
from torch.nn.functional import pad

from diffuseit.evaluation.measure import Wanted
from diffuseit.evaluation.outlook import too_far
from diffuseit.evaluation.verdict import verdict
from diffuseit.evaluation.witnesses import Witnesses
from diffuseit.images.recipe import VERDICT, Recipe
from diffuseit.pocket.models import pocket_clip, pocket_vit
from diffuseit.pocket.witnesses import pocket_target, pocket_witnesses, verdicts_on_run
from diffuseit.pocket.world.captions import style_named
from diffuseit.pocket.world.render import STYLES, render, sample_geometry
from diffuseit.pocket.world.seeds import TUNING
from diffuseit.presets import PRESETS

SUMMER, WINTER = (STYLES["landscape"].index(name) for name in ("summer", "winter"))
TEXTS = {"to": "winter landscape", "from_": "summer landscape"}
NOTHING = Witnesses("none")


def scene(style, number=0, domain="landscape"):
    seed = TUNING.start + 40_000 + number
    return render(sample_geometry(domain, [seed]), [style], [seed])


@pytest.fixture(scope="module")
def at_hand():
    """The pocket networks that guide, as a run has them."""
    return {"vit": pocket_vit(), "clips": pocket_clip().models}


def test_it_says_what_a_result_is_worth(at_hand):
    source, result, other = scene(SUMMER), scene(WINTER), scene(WINTER, 1)
    moved = pad(result, (4, 0, 0, 0), mode="replicate")[..., :64]
    results = torch.cat([result, source, moved, other])
    found = verdicts_on_run(results, source, **at_hand, **TEXTS)
    assert [one.summary() for one in found[:2]] == [
        "structure kept, target reached, in place",
        "kept its source, target not reached, in place",
    ]
    assert found[2].summary().startswith("structure kept, target reached, moved by 4.")
    assert found[3].summary() == "did not keep the structure, target reached"
    assert [one.findings for one in found] == [(), ("missed",), ("moved",), ("lost",)]
    assert all(one.judge == "pocket judge" and not one.guided for one in found)


def test_a_style_image_says_what_the_target_is(at_hand):
    source, style = scene(SUMMER), scene(WINTER, 3)
    good, copy = verdicts_on_run(torch.cat([scene(WINTER), source]), source, **at_hand, style=style)
    assert good.target_reached and not copy.target_reached
    assert copy.style_gain == pytest.approx(0, abs=1e-5) and good.style_gain > 0.8


def test_a_judge_that_guided_is_named(at_hand):
    large = {"mode": "bicubic", "size": (96, 96)}
    result, source = (torch.nn.functional.interpolate(scene(style), **large) for style in (WINTER, SUMMER))
    (found,) = verdicts_on_run(result, source, **at_hand, **TEXTS)
    assert found.guided and "target reached (says pocket, which guided)" in found.summary()


@pytest.mark.parametrize("side", [(8, 8), (64, 64), (20, 70)])
def test_pictures_of_one_color_raise_nothing_and_give_no_nan(at_hand, side):
    gray = torch.zeros(1, 3, *side)
    picture = torch.nn.functional.interpolate(scene(SUMMER), side)
    for result, source in ((gray, gray), (gray, picture), (picture, gray)):
        for wanted in (TEXTS, {"style": gray}, {}):
            (found,) = verdicts_on_run(result, source, **at_hand, **wanted)
            json.dumps(found.to_json(), allow_nan=False)
            assert not found.in_place
    assert verdict(gray, gray, Wanted(), NOTHING).structure_kept is None  # there is nothing to keep


def test_the_recipe_carries_it_and_is_read_without_it(at_hand):
    (found,) = verdicts_on_run(scene(WINTER), scene(SUMMER), **at_hand, **TEXTS)
    recipe = Recipe(models="pocket", weights={}, preset=PRESETS["fast-text"], seed=0, **TEXTS)
    document = recipe.to_text(found.to_json())
    assert json.loads(document)[VERDICT]["summary"] == found.summary()
    assert Recipe.from_text(document, "a.png") == recipe
    for strange in (None, 7, "x", [1], {"structure_kept": "perhaps", "later": {}}):
        text = json.dumps({**json.loads(document), VERDICT: strange})
        assert Recipe.from_text(text, "a.png") == recipe


def test_texts_name_the_styles_of_the_judge():
    assert style_named("a black leopard in the grass") == ("animal", STYLES["animal"].index("panther"))
    assert style_named("a lake covered with snow") == ("landscape", WINTER)
    assert style_named("a house") is None and style_named("a lion and a tiger") is None
    networks = pocket_witnesses()
    classes = networks.classifier.classes
    assert classes[pocket_target(networks, "winter landscape")] == "winter"
    assert pocket_target(networks, "a castle") is None
    assert classes[pocket_target(networks, None, scene(WINTER))] == "winter"


def test_the_outlook_warns_of_another_domain(at_hand):
    (clip,) = at_hand["clips"]
    sources = torch.cat([scene(SUMMER, number) for number in range(4)])
    assert too_far(clip, sources, "leopard") == [True] * 4
    assert too_far(clip, sources, "winter landscape") == [False] * 4
    clip.name, before = "another", clip.name
    assert too_far(clip, sources, "leopard") is None
    clip.name = before
