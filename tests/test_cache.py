"""Features that are remembered from run to run, by content."""

from dataclasses import replace

import pytest
import torch
from losses_alone import guidance

from diffuseit.losses import TextStyleLoss, bind
from diffuseit.performance import cache
from diffuseit.pocket.models import pocket_vit


@pytest.fixture
def vit():
    return pocket_vit()


def count(network):
    """The calls of a network, one entry each."""
    calls = []
    return calls, network.register_forward_hook(lambda *_: calls.append(1))


def test_features_outlive_a_run_and_go_by_content(models, scene):
    loss = TextStyleLoss(to="winter", weight=1)
    clip = models.clip.models[0]
    calls, handle = count(clip)
    prompts = []
    clip.encode_prompt, written = lambda text: prompts.append(text) or written(text), clip.encode_prompt
    try:
        for source in (scene, scene.clone()):
            guidance(bind([loss], clip=models.clip), source)
        assert (len(calls), prompts) == (1, ["winter"])
        guidance(bind([loss], clip=models.clip), scene + 0.01)
        guidance(bind([replace(loss, to="autumn")], clip=models.clip), scene)
        assert (len(calls), prompts) == (2, ["winter", "autumn"])
    finally:
        handle.remove()
        del clip.encode_prompt


def test_a_changed_network_is_asked_again(vit, scene):
    calls, _ = count(vit)
    first = cache.features(vit, scene)
    assert torch.equal(cache.features(vit, scene).keys, first.keys) and len(calls) == 1
    vit.layer = 0
    assert not torch.equal(cache.features(vit, scene).keys, first.keys)
    vit.layer = -1
    assert len(calls) == 2
    with torch.no_grad():
        vit.model.cls_token.add_(1)
    assert not torch.equal(cache.features(vit, scene).cls, first.cls)
    vit.model.load_state_dict(pocket_vit().model.state_dict(), assign=True)
    torch.testing.assert_close(cache.features(vit, scene).cls, first.cls)
    assert len(calls) == 4


def test_what_is_remembered_has_a_bound(vit, scene, monkeypatch):
    size = sum(part.nbytes for part in vars(vit(scene)).values())
    monkeypatch.setattr(cache, "LIMIT_BYTES", 2 * size)
    calls, _ = count(vit)
    first, second, third = (scene + shift for shift in (0.1, 0.2, 0.3))
    for picture in (first, second, third):
        cache.features(vit, picture)
    assert len(calls) == 3
    for picture in (third, second):
        cache.features(vit, picture)
    assert len(calls) == 3
    cache.features(vit, first)
    assert len(calls) == 4
    cache.features(vit, second)
    assert len(calls) == 4, "what was used longest ago went first"
