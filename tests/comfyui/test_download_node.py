"""The node that downloads: it says what it waits for, hears an interruption, and does not hold up the queue."""

import os
import time

import pytest
from comfyui.prompts import text_prompt
from comfyui.server import ComfyServer, PromptError
from filelock import FileLock
from hostile_server import dripping_head, hub, running, status

from diffuseit.models.hub.catalog import entry_named

from .conftest import write_inputs

pytestmark = pytest.mark.comfyui

ENTRY = entry_named("dinov2-s14")
CONTENT = os.urandom(300_000)
PROMPT = {"fetch": ("DiffuseITDownloadModels", {"model": ENTRY.name})}


@pytest.fixture(scope="module")
def models():
    with running() as server:
        yield server


@pytest.fixture(scope="module")
def server(comfyui, models, tmp_path_factory):
    """A ComfyUI whose hub is on the loopback address."""
    base = tmp_path_factory.mktemp("download")
    write_inputs(base / "input")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", models.url)
        patch.setenv("HF_HOME", str(base / "hub"))
        for name in [name for name in os.environ if name.upper().endswith("_PROXY")]:
            patch.delenv(name)
        started = ComfyServer(comfyui, base)
    with started:
        yield started


def interrupted(server) -> float:
    """Run the node and interrupt it when it has begun; the seconds until it ends."""
    began = []

    def interrupt(event):
        if event["type"] == "executing" and event["data"]["node"] == "fetch":
            time.sleep(1)
            began.append(time.monotonic())
            server.post("/interrupt")

    assert server.wait(server.queue(PROMPT), interrupt).interrupted
    return time.monotonic() - began[0]


def test_a_hub_that_says_next_to_nothing_does_not_hold_up_the_queue(server, models):
    models.acts = [dripping_head]
    assert interrupted(server) < 3
    assert "waiting for 127.0.0.1" in server.log()
    assert server.run(text_prompt(seed=1, steps=4, skip=2)).outputs["save"]


def test_a_download_by_another_process_is_waited_for_and_named(server, models):
    folder = server.base / "models" / "diffuseit"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{ENTRY.file}.lock"):
        assert interrupted(server) < 3
    assert f"DiffuseIT: {ENTRY.file}: waiting for another download of this file" in server.log()


def test_a_failure_is_one_sentence_and_then_it_works(server, models):
    models.acts = [status(404, X_Error_Code="EntryNotFound")]
    with pytest.raises(PromptError, match=r"has no file model\.safetensors any more"):
        server.run(PROMPT)
    models.acts = [hub({f"{ENTRY.hub.repo}/{ENTRY.hub.file}": CONTENT})]
    outcome = server.run(PROMPT)
    assert outcome.progress["fetch"][-1] == (100, 100)
    assert (server.base / "models" / "diffuseit" / ENTRY.file).read_bytes() == CONTENT
