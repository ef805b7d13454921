"""What a run does when memory runs out, with a fake of ComfyUI's devices."""

import weakref
from dataclasses import replace

import pytest
import torch
from nodes_alone import import_node_module

from tools import fake_comfyui


@pytest.fixture
def comfy():
    return fake_comfyui.modules()


@pytest.fixture
def memory(monkeypatch, comfy):
    return import_node_module(monkeypatch, "comfy.memory", comfy)


@pytest.fixture
def management(comfy):
    return comfy["comfy.model_management"]


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
    RuntimeError("HIP out of memory"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: not enough memory: you tried to allocate 9"
    ),
    MemoryError(),
]


def test_the_cpu_says_in_its_own_words_that_memory_is_out(memory):
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8, device="cpu")
    assert memory.out_of_memory(caught.value)
    with pytest.raises(RuntimeError) as caught:
        torch.zeros(2, 3, device="cpu") @ torch.zeros(2, 3, device="cpu")
    assert not memory.out_of_memory(caught.value)


def attempts(errors):
    """An attempt that fails with one error after the other and then gives 'done'; what it was called with."""
    left, seen = list(errors), []

    def attempt(execution):
        seen.append(execution)
        if left:
            raise left.pop(0)
        return "done"

    return attempt, seen


@pytest.mark.parametrize(
    "error", OUT_OF_MEMORY, ids=lambda error: f"{type(error).__name__}-{str(error)[:20]}"
)
def test_out_of_memory_is_tried_once_more_with_little_memory(memory, management, error, caplog):
    attempt, seen = attempts([error])
    assert memory.with_less_memory(attempt) == "done"
    assert seen == [memory.BALANCED, memory.LOW_MEMORY]
    assert management.calls == ["soft_empty_cache"]
    assert "out of memory; trying again, slower and with less" in caplog.text


def gpu(management):
    """A device whose memory is not the CPU's."""
    management.get_torch_device = lambda: torch.device("meta")


def test_on_a_gpu_the_networks_take_turns_before_a_run_is_given_up(memory, management):
    gpu(management)
    attempt, seen = attempts(OUT_OF_MEMORY[:2])
    assert memory.with_less_memory(attempt) == "done"
    assert seen[:2] == [memory.BALANCED, memory.LOW_MEMORY]
    assert replace(seen[2], turn=memory.LOW_MEMORY.turn) == memory.LOW_MEMORY
    assert isinstance(seen[2].turn, memory.OneAtATime)


@pytest.mark.parametrize(
    ("needs", "tried"),
    [((900, 800, 700), 0), ((1001, 800, 700), 1), ((1001, 1001, 700), 2), (3 * (1001,), 2)],
)
def test_a_plan_that_the_device_is_too_small_for_is_not_tried(memory, management, needs, tried):
    gpu(management)
    every, (attempt, seen) = memory.plans(), attempts([])
    foretold = {
        (plan.crop_batch, plan.turn is every[0].turn): need for plan, need in zip(every, needs, strict=True)
    }
    found = memory.with_less_memory(
        attempt, lambda plan: foretold[plan.crop_batch, plan.turn is every[0].turn]
    )
    assert found == "done"
    (plan,) = seen
    assert (plan.crop_batch, type(plan.turn)) == (every[tried].crop_batch, type(every[tried].turn))


def test_out_of_memory_twice_says_what_to_change(memory):
    attempt, seen = attempts(OUT_OF_MEMORY[:2])
    with pytest.raises(RuntimeError, match="fewer images in a batch, fewer or smaller CLIP") as caught:
        memory.with_less_memory(attempt)
    assert seen == [memory.BALANCED, memory.LOW_MEMORY]
    assert caught.value.__cause__ is OUT_OF_MEMORY[1]


@pytest.mark.parametrize("errors", [[ValueError("other")], [OUT_OF_MEMORY[0], ValueError("other")]])
def test_other_errors_are_not_tried_again(memory, errors):
    attempt, seen = attempts(errors)
    with pytest.raises(ValueError, match="other"):
        memory.with_less_memory(attempt)
    assert len(seen) == len(errors)


def test_the_first_attempt_has_let_go_of_its_memory_when_the_second_begins(memory):
    """An exception that is still handled keeps the frames, and so the tensors, of what raised it."""
    first = []

    def attempt(execution):
        if execution is memory.LOW_MEMORY:
            return first[0]()
        activations = torch.zeros(3)
        first.append(weakref.ref(activations))
        raise torch.OutOfMemoryError("CUDA out of memory")

    assert memory.with_less_memory(attempt) is None
