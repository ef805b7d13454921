"""What a running node tells the user, with a fake of ComfyUI's server."""

import sys
from types import SimpleNamespace

import pytest
import torch
from nodes_alone import import_node_module

from tools import fake_comfyui


@pytest.fixture
def comfy():
    return fake_comfyui.modules()


@pytest.fixture
def events(monkeypatch, comfy):
    return import_node_module(monkeypatch, "comfy.events", comfy)


@pytest.fixture
def management(comfy):
    return comfy["comfy.model_management"]


def test_progress_shows_the_picture_and_answers_interruptions(events, management):
    progress = events.Progress(5)
    picture = torch.tensor([-1.0, 0.0, 1.0]).reshape(3, 1, 1).expand(3, 2, 4)
    progress.update(2, 6, picture)
    ((value, total, (kind, image, size)),) = progress._bar.seen
    assert (value, total, kind, size) == (2, 6, "JPEG", events.PREVIEW_SIZE)
    assert image.size == (4, 2)
    assert image.getpixel((0, 0)) == (0, 128, 255)
    management.interrupted = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        progress.update(3, 6, picture)


def test_a_preview_that_fails_ends_no_run_but_an_interruption_does(events, management, monkeypatch, caplog):
    progress = events.Progress(5)

    def fail(*_):
        raise errors.pop()

    monkeypatch.setattr(progress._bar, "update_absolute", fail)
    errors = [OSError("gone"), ValueError("odd")]
    while errors:
        progress.update(1, 5)
    assert caplog.text.count("goes on without the progress on the node") == 1
    errors = [management.InterruptProcessingException()]  # ComfyUI's own bar answers interruptions too
    with pytest.raises(management.InterruptProcessingException):
        progress.update(2, 5)


@pytest.mark.parametrize("client", ["page", None])
def test_a_run_is_told_to_nobody_but_the_page_that_queued_it(events, monkeypatch, client):
    sent = []
    instance = SimpleNamespace(client_id=client, send_sync=lambda *what: sent.append(what))
    monkeypatch.setitem(
        sys.modules, "server", SimpleNamespace(PromptServer=SimpleNamespace(instance=instance))
    )
    events.tell("event", {})
    assert sent == ([("event", {}, client)] if client else [])  # None would reach every page


def test_without_a_server_nobody_is_told(events, monkeypatch):
    monkeypatch.delitem(sys.modules, "server", raising=False)
    events.tell("event", {})
