"""What a server goes through in a day: interruptions, queues, batches, freed memory, many prompts."""

import numpy as np
import pytest
from comfyui.prompts import changed, image_prompt, text_prompt

pytestmark = pytest.mark.comfyui

NEIGHBOUR_LEVELS = 2  # of 255: the bound of tests/test_loop.py, 1e-2 in [-1, 1], and the cut to 8 bit
MEGABYTE = 2**20


def far(a, b):
    """The largest difference in levels of 255."""
    return np.abs(a.astype(int) - b.astype(int)).max()


def test_an_interruption_is_answered_within_a_step_and_the_prompt_runs_afterwards(server):
    prompt = text_prompt(seed=200, steps=28, skip=3)
    interrupted_at = 3

    def interrupt(event):
        if event["type"] == "progress" and event["data"]["value"] == interrupted_at:
            server.post("/interrupt")

    outcome = server.wait(server.queue(prompt), interrupt)
    assert outcome.interrupted
    assert outcome.error is None
    # The event and the request travel while the sampler goes on: two steps more than the one in question.
    assert outcome.progress["sampler"][-1][0] <= interrupted_at + 3
    again = server.run(prompt)
    assert again.progress["sampler"][-1] == (25, 25)
    assert again.outputs["save"]


def test_an_interruption_is_answered_while_the_source_is_inverted(server):
    def interrupt(event):
        if event["type"] == "executing" and event["data"]["node"] == "sampler":
            server.post("/interrupt")

    prompt = text_prompt(seed=203, steps=400, skip=10, method="agg")  # 389 calls before the first step
    outcome = server.wait(server.queue(prompt), interrupt)
    assert outcome.interrupted
    assert "sampler" not in outcome.progress


def test_an_interruption_does_not_reach_the_next_prompt(server):
    first, second = (server.queue(text_prompt(seed=seed, steps=16)) for seed in (201, 202))
    once = []

    def interrupt(event):
        if event["type"] == "progress" and not once:
            once.append(server.post("/interrupt"))

    assert server.wait(first, interrupt).interrupted
    assert server.wait(second).outputs["save"]


def test_two_prompts_in_the_queue_both_run(server):
    first, second = (server.queue(prompt) for prompt in (text_prompt(seed=203), image_prompt(seed=203)))
    pictures = [server.images(server.wait(prompt), "save") for prompt in (first, second)]
    assert far(*pictures) > 10


def test_a_batch_equals_single_runs_at_the_seeds_that_follow(server):
    prompt = text_prompt(image=["three", 0], seed=210)
    prompt |= {name: ("LoadImage", {"image": f"{name}.png"}) for name in "abc"}
    prompt["two"] = ("ImageBatch", {"image1": ["a", 0], "image2": ["b", 0]})
    prompt["three"] = ("ImageBatch", {"image1": ["two", 0], "image2": ["c", 0]})
    outcome = server.run(prompt)
    batch, frames = server.images(outcome, "save"), server.images(outcome, "frames")
    assert len(batch) == 3
    for i, name in enumerate("abc"):
        alone = server.run(changed(text_prompt(seed=210 + i), "source", image=f"{name}.png"))
        assert far(server.images(alone, "save")[0], batch[i]) <= NEIGHBOUR_LEVELS
        of_item = frames.reshape(3, -1, *frames.shape[1:])[i]
        assert far(server.images(alone, "frames"), of_item) <= NEIGHBOUR_LEVELS
    other_seed = server.images(server.run(text_prompt(seed=211)), "save")
    assert far(other_seed[0], batch[0]) > 25


def test_freed_models_come_back(server):
    server.run(text_prompt(seed=220))
    server.free(unload_models=True)
    mark = len(server.log())
    outcome = server.run(text_prompt(seed=221))
    assert set(outcome.executed) == {"sampler", "save", "frames", "plot"}, "the loaders' outputs were lost"
    assert "Requested to load" in server.log_since(mark)


def test_everything_freed_comes_back(server):
    prompt = text_prompt(seed=222)
    before = server.images(server.run(prompt), "save")
    server.free(unload_models=True, free_memory=True)
    outcome = server.run(prompt)
    assert set(outcome.executed) == set(prompt)
    assert far(server.images(outcome, "save"), before) == 0


def test_a_run_goes_on_while_memory_is_freed(server):
    """POST /free takes effect between two prompts; asked for in every step, it changes no picture."""
    prompt = text_prompt(seed=223, steps=16, skip=3)
    before = server.images(server.run(prompt), "save")
    server.free(unload_models=True, free_memory=True)

    def free(event):
        if event["type"] == "progress":
            server.post("/free", {"unload_models": True, "free_memory": True})

    outcome = server.run(prompt, free)
    assert "sampler" in outcome.executed
    assert far(server.images(outcome, "save"), before) == 0
    again = server.run(text_prompt(seed=224, steps=4, skip=2))
    assert again.outputs["save"]


@pytest.mark.slow
def test_forty_prompts_leave_no_memory_behind(server):
    def run(seed):
        prompt = (text_prompt, image_prompt)[seed % 2]
        server.run(prompt(seed=seed, steps=5, skip=3))
        return server.resident_bytes()

    warm = max(run(seed) for seed in range(300, 308))
    grown = max(run(seed) for seed in range(308, 348)) - warm
    print(f"grown by {grown / MEGABYTE:.1f} MiB over {warm / MEGABYTE:.0f} MiB")
    assert grown < 40 * MEGABYTE


@pytest.mark.slow
def test_a_server_that_caches_nothing_and_unloads_after_each_prompt(start):
    with start("--cache-none", "--disable-smart-memory", "--force-fp32") as server:
        prompt = text_prompt(seed=230)
        first, second = (server.run(prompt) for _ in range(2))
        assert set(second.executed) == set(prompt)
        assert far(server.images(first, "save"), server.images(second, "save")) == 0
