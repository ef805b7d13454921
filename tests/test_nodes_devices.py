"""Networks on ComfyUI's devices, with a fake of ComfyUI; the real one is in tests/comfyui."""

from types import SimpleNamespace

import pytest
import torch
from nodes_alone import import_node_module
from torch import nn

from tools import fake_comfyui


@pytest.fixture
def comfy():
    return fake_comfyui.modules()


@pytest.fixture
def devices(monkeypatch, comfy):
    return import_node_module(monkeypatch, "comfy.devices", comfy)


@pytest.fixture
def management(comfy):
    return comfy["comfy.model_management"]


def network():
    """Weights in two depths, a buffer that is saved and one that is not."""
    inner = nn.Linear(3, 3)
    inner.register_buffer("scale", torch.tensor(2.0))
    inner.register_buffer("mean", torch.tensor(0.5), persistent=False)
    return nn.Sequential(inner, nn.Linear(3, 1)).requires_grad_(False)


def gradient(module):
    picture = torch.ones(1, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(module(picture).square().sum(), picture)
    return gradient


def test_weights_that_moved_under_inference_mode_can_be_differentiated_after_thaw(devices):
    module = network()
    before, saved = gradient(module), set(module.state_dict())
    with torch.inference_mode():
        module.to(torch.float64).to(torch.float32)
    with devices.gradients():
        with pytest.raises(RuntimeError, match="Inference tensors"):
            gradient(module)
        devices.thaw(module)
        torch.testing.assert_close(gradient(module), before)
    assert not any(tensor.is_inference() for tensor in (*module.parameters(), *module.buffers()))
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert set(module.state_dict()) == saved


def test_thaw_leaves_ordinary_weights_where_they_are(devices):
    module = network()
    places = [tensor.data_ptr() for tensor in (*module.parameters(), *module.buffers())]
    devices.thaw(module)
    assert [tensor.data_ptr() for tensor in (*module.parameters(), *module.buffers())] == places


def test_gradients_work_inside_the_inference_mode_of_a_server(devices):
    with torch.inference_mode(), devices.gradients():
        assert gradient(network()).abs().sum() > 0


def test_load_asks_for_each_network_once_and_whole(devices, management):
    handles = [devices.manage(network()) for _ in range(2)]
    networks = [
        devices.Network(None, (handles[0],)),
        devices.Network(None, tuple(handles)),
    ]
    handles[1].loaded = False  # as --novram leaves it
    with torch.inference_mode():
        handles[0].model.to(torch.float64)
    devices.load(networks, 1000)
    assert management.calls == [(handles, {"memory_required": 1000, "force_full_load": True})]
    assert handles[1].loaded
    assert not any(weight.is_inference() for weight in handles[0].model.parameters())


def test_comfyui_may_write_on_its_handle_of_a_network(devices):
    module = network()
    handle = devices.manage(module)
    handle.model.device = torch.device("cpu")
    assert type(handle.model).__name__ == "Sequential"
    assert handle.model.network is module


@pytest.mark.parametrize("fast", [False, True])
def test_auto_is_half_precision_where_the_device_is_good_at_it(devices, management, fast):
    management.should_use_fp16 = lambda device: fast
    assert devices.choose_dtype("auto") is (torch.float16 if fast else torch.float32)
    assert devices.choose_dtype("bfloat16") is torch.bfloat16


def test_networks_that_take_turns_wait_off_the_device_and_can_be_differentiated(devices, management):
    resident, guest = (devices.Network(None, (devices.manage(network()),)) for _ in range(2))
    with torch.inference_mode():
        guest.patchers[0].model.to(torch.float64)
    devices.load_offloaded(resident, [guest], 1000)
    unloaded, (loaded, _) = management.calls
    assert unloaded == "unload_all_models"
    assert loaded == list(resident.patchers)
    assert not any(weight.is_inference() for weight in guest.patchers[0].model.parameters())


class Streaming:
    """A dynamic patcher: where it can, it comes back as `plain`."""

    load_device = offload_device = torch.device("cpu")

    def __init__(self, plain=None, error=None):
        self.model, self._plain, self._error = network(), plain, error

    def is_dynamic(self):
        return True

    def clone(self, disable_dynamic=False):
        if self._error:
            raise self._error
        assert disable_dynamic
        return self._plain


def test_a_patcher_that_streams_is_replaced_by_one_that_does_not(devices):
    plain = devices.manage(network())
    plain.is_dynamic = lambda: False
    assert devices.static(plain) is plain
    assert devices.static(Streaming(plain)) is plain


@pytest.mark.parametrize("error", [RuntimeError("from no file"), TypeError("no such option")])
def test_a_patcher_without_a_file_is_copied(devices, error):
    streaming = Streaming(error=error)
    static = devices.static(streaming)
    weights = [module.state_dict().values() for module in (streaming.model, static.model)]
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))
    assert static.model is not streaming.model


def model_of(parameter, *, dynamic=False, loaded=8):
    """A MODEL with one weight."""
    holder = nn.Module()
    holder.diffusion_model = nn.Module()
    holder.diffusion_model.weight = parameter
    sizes = {"loaded_size": lambda: loaded, "model_size": lambda: 8}
    return SimpleNamespace(model=holder, is_dynamic=lambda: dynamic, **sizes)


class Quantized(nn.Parameter):
    pass


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (model_of(nn.Parameter(torch.ones(2)), dynamic=True), "streams the weights"),
        (model_of(nn.Parameter(torch.ones(2)), loaded=3), "not on the device as a whole"),
        (model_of(Quantized(torch.ones(2))), "quantized"),
        (model_of(nn.Parameter(torch.ones(2, dtype=torch.int8), requires_grad=False)), "quantized"),
    ],
)
def test_no_backward_pass_of_a_model_that_has_none(devices, model, message):
    with pytest.raises(Exception, match=f"{message}.*leave 'gradient' at 'prediction'"):
        devices.prepare_backward(model)


def test_a_backward_pass_finds_ordinary_weights(devices):
    with torch.inference_mode():
        weight = nn.Parameter(torch.ones(2), requires_grad=False)
    model = model_of(weight)
    devices.prepare_backward(model)
    assert not model.model.diffusion_model.weight.is_inference()


def test_training_is_on_only_while_a_model_is_differentiated(devices, management):
    management.in_training = False
    seen = []

    def fail():
        with devices.backward_through_models():
            seen.append(management.in_training)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert seen == [True]
    assert management.in_training is False
