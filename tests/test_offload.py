"""Feature networks that take turns on a device."""

from contextlib import contextmanager

import pytest
import torch

from diffuseit.guidance.loop import sample
from diffuseit.guidance.settings import SamplerSettings
from diffuseit.methods import DiffuseIT
from diffuseit.performance import offload
from diffuseit.performance.offload import Offload
from diffuseit.performance.options import Execution
from diffuseit.presets import PRESETS

SHORT = SamplerSettings(steps=6, skip=3, resample=1, method=DiffuseIT(step_rule="normalized", step_size=0.5))


class Watched(Offload):
    """Writes down who is expected, who has a turn, and when it ends."""

    def __init__(self):
        super().__init__("cpu")
        self.log, self.present = [], set()

    @contextmanager
    def __call__(self, network, then=None):
        self.log.append(("begins", network))
        with super().__call__(network, then):
            self.present.add(network)
            yield
            self.present.remove(network)
        self.log.append(("ends", network))

    def expect(self, network):
        self.log.append(("expected", network))
        super().expect(network)


def run(models, scene, turns):
    losses = PRESETS["pocket-text"].build(models, to="winter landscape", from_="summer landscape")
    list(sample(models.ddpm, scene, losses, SHORT, 0, options=Execution(offload=turns)))


def test_each_network_has_its_turn_and_only_then(models, scene):
    turns, seen = Watched(), []
    networks = [models.vit, *models.clip]
    handles = [
        network.register_forward_pre_hook(
            lambda module, _: seen.append((module in turns.present, len(turns.present)))
        )
        for network in networks
    ]
    try:
        run(models, scene, turns)
    finally:
        for handle in handles:
            handle.remove()
    assert set(seen) == {(True, 1)}


def test_the_next_network_is_expected_before_its_turn_the_first_before_the_diffusion_model_runs(
    models, scene
):
    turns, unet = Watched(), models.ddpm.unet
    (clip,) = models.clip
    handle = unet.register_forward_pre_hook(lambda *_: turns.log.append(("runs", unet)))
    try:
        run(models, scene, turns)
    finally:
        handle.remove()
    steps = turns.log[turns.log.index(("runs", unet)) - 1 :]
    assert steps == (SHORT.steps - SHORT.skip) * [
        ("expected", clip),
        ("runs", unet),
        ("begins", clip),
        ("expected", models.vit),
        ("ends", clip),
        ("begins", models.vit),
        ("ends", models.vit),
    ]


def places(network):
    return [tensor.data_ptr() for tensor in (*network.parameters(), *network.buffers())]


def test_a_network_computes_with_a_copy_in_its_turn_and_rests_where_it_was(monkeypatch):
    """The copy is made when the network is expected; what is remembered of the network holds on."""
    made = []

    def fetched(tensors, device):
        made.append(len(tensors))
        return [tensor.data.clone() for tensor in tensors], None

    monkeypatch.setattr(offload, "_fetched", fetched)
    network, other = torch.nn.BatchNorm1d(2).eval(), torch.nn.Linear(2, 2)
    rest, versions = places(network), [tensor._version for tensor in network.parameters()]
    turns = Offload("cpu")
    turns.expect(network)
    assert made == [5] and places(network) == rest
    with turns(network):
        assert made == [5] and not set(places(network)) & set(rest)
        turns.expect(network)
        turns.expect(other)
        assert made == [5, 2]
    assert places(network) == rest
    with pytest.raises(ZeroDivisionError), turns(network):
        raise ZeroDivisionError
    assert made == [5, 2, 5], "it came in place of the one that was expected"
    assert places(network) == rest
    with turns(network, then=other):
        assert made == [5, 2, 5, 5, 2], "the one that follows is copied during the turn"
    with turns(other):
        assert made == [5, 2, 5, 5, 2]
    assert [tensor._version for tensor in network.parameters()] == versions


def test_nobody_comes_ahead_where_memory_is_short(monkeypatch):
    made = []
    monkeypatch.setattr(offload, "_fetched", lambda tensors, device: (made.append(device), None))
    Offload("cpu", ahead=False).expect(torch.nn.Linear(2, 2))
    assert made == []
