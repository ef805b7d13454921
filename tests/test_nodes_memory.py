"""What a run does when memory runs out, with a fake of ComfyUI's devices."""

import sys
import weakref
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from nodes_alone import NAME, import_node_module

from tools import fake_comfyui


@pytest.fixture
def comfy():
    return fake_comfyui.modules()


@pytest.fixture
def run(monkeypatch, comfy):
    return import_node_module(monkeypatch, "run", comfy)


@pytest.fixture
def memory(run):
    return sys.modules[f"{NAME}.nodes.comfy.memory"]


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


@pytest.fixture
def execute(run, monkeypatch):
    """`execute(errors, needs=...)`: a run whose attempts fail with these errors; (its result, the plans tried)."""

    def execute(errors, needs=lambda plan: 0, attempt=lambda plan: "done"):
        left, tried = list(errors), []

        def fail(_, plan, workflow):
            tried.append(plan)
            if left:
                raise left.pop(0)
            return attempt(plan), "reporter"

        monkeypatch.setattr(run, "_attempt", fail)
        return lambda: run.execute(SimpleNamespace(total_memory=needs)), tried

    return execute


@pytest.mark.parametrize(
    "error", OUT_OF_MEMORY, ids=lambda error: f"{type(error).__name__}-{str(error)[:20]}"
)
def test_out_of_memory_is_tried_once_more_with_little_memory(execute, memory, management, error, caplog):
    start, tried = execute([error])
    assert start() == ("done", "reporter", memory.LOW_MEMORY)
    assert tried == [memory.BALANCED, memory.LOW_MEMORY]
    assert management.calls == ["soft_empty_cache"]
    assert "out of memory; trying again, slower and with less" in caplog.text


def gpu(management):
    """A device whose memory is not the CPU's."""
    management.get_torch_device = lambda: torch.device("meta")


def test_on_a_gpu_the_networks_take_turns_before_a_run_is_given_up(execute, memory, management):
    gpu(management)
    start, tried = execute(OUT_OF_MEMORY[:2])
    start()
    assert tried[:2] == [memory.BALANCED, memory.LOW_MEMORY]
    assert replace(tried[2], offload=None) == memory.LOW_MEMORY
    assert isinstance(tried[2].offload, memory.Offload)


@pytest.mark.parametrize(
    ("needs", "left"),
    [
        ((900, 800, 700), 3),
        ((1001, 800, 700), 2),
        ((1001, 1001, 700), 1),
        (3 * (1001,), 1),
        ((1001, 9, 9), 2),
    ],
)
def test_a_plan_that_the_device_is_too_small_for_is_not_tried(memory, management, needs, left):
    gpu(management)

    def needed(plan):
        return needs[2 if plan.offload else plan == memory.LOW_MEMORY]

    every = memory.plans(lambda plan: 0)
    assert len(every) == 3
    kept = memory.plans(needed)
    assert [(plan.crop_batch, bool(plan.offload)) for plan in kept] == [
        (plan.crop_batch, bool(plan.offload)) for plan in every[3 - left :]
    ]


def test_out_of_memory_twice_says_what_to_change(execute, memory):
    start, tried = execute(OUT_OF_MEMORY[:2])
    with pytest.raises(RuntimeError, match="fewer images in a batch, fewer or smaller CLIP") as caught:
        start()
    assert tried == [memory.BALANCED, memory.LOW_MEMORY]
    assert caught.value.__cause__ is OUT_OF_MEMORY[1]


@pytest.mark.parametrize("errors", [[ValueError("other")], [OUT_OF_MEMORY[0], ValueError("other")]])
def test_other_errors_are_not_tried_again(execute, errors):
    start, tried = execute(errors)
    with pytest.raises(ValueError, match="other"):
        start()
    assert len(tried) == len(errors)


def test_the_first_attempt_has_let_go_of_its_memory_when_the_second_begins(run, monkeypatch):
    """An exception that is still handled keeps the frames, and so the tensors, of what raised it."""
    first = []

    def attempt(_, plan, workflow):
        if first:
            return first[0](), "reporter"
        activations = torch.zeros(3)
        first.append(weakref.ref(activations))
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(run, "_attempt", attempt)
    result, *_ = run.execute(SimpleNamespace(total_memory=lambda plan: 0))
    assert result is None
