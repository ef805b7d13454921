"""The bridge to ComfyUI's devices on a fake of ComfyUI; the real one is in tests/comfyui."""

import sys
import weakref
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from nodes_alone import fake_comfy, import_node_module
from torch import nn


@pytest.fixture
def comfy():
    return fake_comfy()


@pytest.fixture
def runtime(monkeypatch, comfy):
    return import_node_module(monkeypatch, "runtime", comfy)


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


def test_weights_that_moved_under_inference_mode_can_be_differentiated_after_thaw(runtime):
    module = network()
    before, saved = gradient(module), set(module.state_dict())
    with torch.inference_mode():
        module.to(torch.float64).to(torch.float32)
    with runtime.gradients():
        with pytest.raises(RuntimeError, match="Inference tensors"):
            gradient(module)
        runtime.thaw(module)
        torch.testing.assert_close(gradient(module), before)
    assert not any(tensor.is_inference() for tensor in (*module.parameters(), *module.buffers()))
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert set(module.state_dict()) == saved


def test_thaw_leaves_ordinary_weights_where_they_are(runtime):
    module = network()
    places = [tensor.data_ptr() for tensor in (*module.parameters(), *module.buffers())]
    runtime.thaw(module)
    assert [tensor.data_ptr() for tensor in (*module.parameters(), *module.buffers())] == places


def test_gradients_work_inside_the_inference_mode_of_a_server(runtime):
    with torch.inference_mode(), runtime.gradients():
        assert gradient(network()).abs().sum() > 0


def test_load_asks_for_each_network_once_and_whole(runtime, management):
    handles = [runtime.manage(network()) for _ in range(2)]
    networks = [
        runtime.Network(None, (handles[0],)),
        runtime.Network(None, tuple(handles)),
    ]
    handles[1].loaded = False  # as --novram leaves it
    with torch.inference_mode():
        handles[0].model.to(torch.float64)
    runtime.load(networks, 1000)
    assert management.calls == [(handles, {"memory_required": 1000, "force_full_load": True})]
    assert handles[1].loaded
    assert not any(weight.is_inference() for weight in handles[0].model.parameters())


def test_comfyui_may_write_on_its_handle_of_a_network(runtime):
    module = network()
    handle = runtime.manage(module)
    handle.model.device = torch.device("cpu")
    assert type(handle.model).__name__ == "Sequential"
    assert handle.model.network is module


@pytest.mark.parametrize("fast", [False, True])
def test_auto_is_half_precision_where_the_device_is_good_at_it(runtime, management, fast):
    management.should_use_fp16 = lambda device: fast
    assert runtime.choose_dtype("auto") is (torch.float16 if fast else torch.float32)
    assert runtime.choose_dtype("bfloat16") is torch.bfloat16


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
    RuntimeError("HIP out of memory"),
]


def attempts(errors):
    """An attempt that fails with one error after the other and then gives 'done'; what it was called with."""
    left, seen = list(errors), []

    def attempt(execution):
        seen.append(execution)
        if left:
            raise left.pop(0)
        return "done"

    return attempt, seen


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_out_of_memory_is_tried_once_more_with_little_memory(runtime, management, error, caplog):
    attempt, seen = attempts([error])
    assert runtime.with_less_memory(attempt) == "done"
    assert seen == [runtime.BALANCED, runtime.LOW_MEMORY]
    assert management.calls == ["soft_empty_cache"]
    assert "out of memory; trying again, slower and with less" in caplog.text


def gpu(management):
    """A device whose memory is not the CPU's."""
    management.get_torch_device = lambda: torch.device("meta")


def test_on_a_gpu_the_networks_take_turns_before_a_run_is_given_up(runtime, management):
    gpu(management)
    attempt, seen = attempts(OUT_OF_MEMORY[:2])
    assert runtime.with_less_memory(attempt) == "done"
    assert seen[:2] == [runtime.BALANCED, runtime.LOW_MEMORY]
    assert replace(seen[2], turn=runtime.LOW_MEMORY.turn) == runtime.LOW_MEMORY
    assert isinstance(seen[2].turn, runtime.OneAtATime)


@pytest.mark.parametrize(
    ("needs", "tried"),
    [((900, 800, 700), 0), ((1001, 800, 700), 1), ((1001, 1001, 700), 2), (3 * (1001,), 2)],
)
def test_a_way_that_the_device_is_too_small_for_is_not_tried(runtime, management, needs, tried):
    gpu(management)
    every, (attempt, seen) = runtime.ways(), attempts([])
    foretold = {
        (way.crop_batch, way.turn is every[0].turn): need for way, need in zip(every, needs, strict=True)
    }
    found = runtime.with_less_memory(attempt, lambda way: foretold[way.crop_batch, way.turn is every[0].turn])
    assert found == "done"
    (way,) = seen
    assert (way.crop_batch, type(way.turn)) == (every[tried].crop_batch, type(every[tried].turn))


def test_networks_that_take_turns_wait_off_the_device_and_can_be_differentiated(runtime, management):
    resident, guest = (runtime.Network(None, (runtime.manage(network()),)) for _ in range(2))
    with torch.inference_mode():
        guest.patchers[0].model.to(torch.float64)
    runtime.load_in_turns(resident, [guest], 1000)
    unloaded, (loaded, _) = management.calls
    assert unloaded == "unload_all_models"
    assert loaded == list(resident.patchers)
    assert not any(weight.is_inference() for weight in guest.patchers[0].model.parameters())


def test_out_of_memory_twice_says_what_to_change(runtime):
    attempt, seen = attempts(OUT_OF_MEMORY[:2])
    with pytest.raises(RuntimeError, match="fewer pictures in a batch, fewer or smaller CLIP") as caught:
        runtime.with_less_memory(attempt)
    assert seen == [runtime.BALANCED, runtime.LOW_MEMORY]
    assert caught.value.__cause__ is OUT_OF_MEMORY[1]


@pytest.mark.parametrize("errors", [[ValueError("other")], [OUT_OF_MEMORY[0], ValueError("other")]])
def test_other_errors_are_not_tried_again(runtime, errors):
    attempt, seen = attempts(errors)
    with pytest.raises(ValueError, match="other"):
        runtime.with_less_memory(attempt)
    assert len(seen) == len(errors)


def test_the_first_attempt_has_let_go_of_its_memory_when_the_second_begins(runtime):
    """An exception that is still handled keeps the frames, and so the tensors, of what raised it."""
    first = []

    def attempt(execution):
        if execution is runtime.LOW_MEMORY:
            return first[0]()
        activations = torch.zeros(3)
        first.append(weakref.ref(activations))
        raise torch.OutOfMemoryError("CUDA out of memory")

    assert runtime.with_less_memory(attempt) is None


def test_progress_shows_the_picture_and_answers_interruptions(runtime, management):
    progress = runtime.Progress(5)
    picture = torch.tensor([-1.0, 0.0, 1.0]).reshape(3, 1, 1).expand(3, 2, 4)
    progress.update(2, 6, picture)
    ((value, total, (kind, image, size)),) = progress._bar.seen
    assert (value, total, kind, size) == (2, 6, "JPEG", runtime.PREVIEW_SIZE)
    assert image.size == (4, 2)
    assert image.getpixel((0, 0)) == (0, 127, 255)
    management.interrupted = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        progress.update(3, 6, picture)


@pytest.mark.parametrize("client", ["page", None])
def test_a_run_is_told_to_nobody_but_the_page_that_queued_it(runtime, monkeypatch, client):
    sent = []
    instance = SimpleNamespace(client_id=client, send_sync=lambda *what: sent.append(what))
    monkeypatch.setitem(
        sys.modules, "server", SimpleNamespace(PromptServer=SimpleNamespace(instance=instance))
    )
    runtime.tell("event", {})
    assert sent == ([("event", {}, client)] if client else [])  # None would reach every page
