"""The sidebar's downloads: one after the other, stopped when asked, and told in words when they fail."""

import importlib
import threading
from pathlib import Path

import pytest
from nodes_alone import import_node_module

from diffuseit.models.hub.catalog import entry_named
from diffuseit.models.hub.http import Progress

FIRST, SECOND = entry_named("dino-s16"), entry_named("clip-b32")
SECONDS = 20


@pytest.fixture
def fetcher_module(monkeypatch):
    return import_node_module(monkeypatch, "fetcher")


class Told:
    """The jobs that were told, and a way to wait for one."""

    def __init__(self):
        self.jobs = []
        self.changed = threading.Condition()

    def __call__(self, job):
        with self.changed:
            self.jobs.append(job)
            self.changed.notify_all()

    def wait(self, name, state):
        return self.wait_for(lambda job: (job.name, job.state) == (name, state))

    def wait_for(self, wanted):
        def found():
            return next((job for job in self.jobs if wanted(job)), None)

        with self.changed:
            assert self.changed.wait_for(found, SECONDS), [(job.name, job.state) for job in self.jobs]
            return found()


class Transfer:
    """A fetch that goes on piece by piece, when the test lets it."""

    def __init__(self):
        self.pieces = threading.Semaphore(0)
        self.running = []
        self.most = 0

    def __call__(self, entry, report):
        self.running.append(entry.name)
        self.most = max(self.most, len(self.running))
        try:
            for quarter in range(1, 5):
                assert self.pieces.acquire(timeout=SECONDS)
                report(Progress(entry.file, 250 * quarter, 1000))
        finally:
            self.running.remove(entry.name)


def test_one_after_the_other_and_each_once(fetcher_module):
    told, transfer = Told(), Transfer()
    fetcher = fetcher_module.Fetcher(transfer, told)
    fetcher.start(FIRST)
    told.wait(FIRST.name, "running")
    fetcher.start(SECOND)
    assert fetcher.start(FIRST).state == "running"
    assert fetcher.start(SECOND).state == "waiting"
    for _ in range(8):
        transfer.pieces.release()
    assert told.wait(SECOND.name, "done").done == 1000
    assert transfer.most == 1
    of_first = [(job.state, job.done) for job in told.jobs if job.name == FIRST.name]
    assert of_first[-5:] == [("running", part) for part in (250, 500, 750, 1000)] + [("done", 1000)]
    assert {job.state for job in fetcher.jobs().values()} == {"done"}


def test_both_the_running_and_the_waiting_can_be_stopped(fetcher_module):
    told, transfer = Told(), Transfer()
    fetcher = fetcher_module.Fetcher(transfer, told)
    fetcher.start(FIRST)
    told.wait(FIRST.name, "running")
    fetcher.start(SECOND)
    fetcher.stop(SECOND.name)
    told.wait(SECOND.name, "stopped")
    fetcher.stop(FIRST.name)
    told.wait(FIRST.name, "stopping")
    transfer.pieces.release()
    told.wait(FIRST.name, "stopped")
    fetcher.stop("no such model")
    # It can be begun again.
    fetcher.start(FIRST)
    for _ in range(4):
        transfer.pieces.release()
    told.wait(FIRST.name, "done")
    assert SECOND.name not in {job.name for job in told.jobs if job.state == "running"}


def test_a_failure_is_said_in_words_and_holds_up_no_other(fetcher_module, caplog):
    errors = import_errors(fetcher_module)
    faults = {
        FIRST.name: errors.ModelError("the disk is full: make room"),
        SECOND.name: ZeroDivisionError("oh"),
    }

    def fail(entry, report):
        raise faults[entry.name]

    told = Told()
    fetcher = fetcher_module.Fetcher(fail, told)
    fetcher.start(FIRST)
    fetcher.start(SECOND)
    assert told.wait(FIRST.name, "failed").error == "the disk is full: make room"
    assert told.wait(SECOND.name, "failed").error == "ZeroDivisionError: oh"
    assert "the download of clip-b32 failed, because" in caplog.text


def test_a_host_that_cannot_be_reached_is_told_with_what_the_library_said(fetcher_module):
    http = importlib.import_module(
        import_errors(fetcher_module).__name__.replace("errors", "models.hub.http")
    )

    def fail(entry, report):
        raise http.not_downloaded(
            Path(entry.file), "no connection to a.b", "https://a.b", details="oh", host="a.b"
        )

    told = Told()
    fetcher_module.Fetcher(fail, told).start(FIRST)
    job = told.wait(FIRST.name, "failed")
    assert (job.host, job.details) == ("a.b", "oh") and "no connection to a.b" in job.error


def test_a_download_to_which_nothing_comes_can_be_stopped(fetcher_module):
    """`OnProgress` is called while nothing comes, too; what is waited for is told once."""
    told = Told()

    def wait(entry, on_progress):
        while True:
            on_progress(Progress(entry.file, note="waiting for a server"))

    fetcher = fetcher_module.Fetcher(wait, told)
    fetcher.start(FIRST)
    told.wait(FIRST.name, "running")
    told.wait_for(lambda job: job.note == "waiting for a server")
    fetcher.stop(FIRST.name)
    assert told.wait(FIRST.name, "stopped").note is None
    assert len(told.jobs) == 5


def test_a_failed_download_has_details_apart(fetcher_module):
    http = importlib.import_module("..diffuseit.models.hub.http", fetcher_module.__package__)

    def fail(entry, on_progress):
        raise http.DownloadError("no connection to models.invalid", "NameResolutionError(...)")

    told = Told()
    fetcher_module.Fetcher(fail, told).start(FIRST)
    job = told.wait(FIRST.name, "failed")
    assert (job.error, job.details) == ("no connection to models.invalid", "NameResolutionError(...)")


def test_a_page_that_cannot_be_told_holds_up_nothing(fetcher_module, caplog):
    told, transfer = Told(), Transfer()

    def tell(job):
        told(job)
        raise ConnectionError("the page is gone")

    fetcher = fetcher_module.Fetcher(transfer, tell)
    fetcher.start(FIRST)
    fetcher.start(SECOND)
    for _ in range(8):
        transfer.pieces.release()
    told.wait(SECOND.name, "done")
    assert fetcher.start(FIRST).state == "waiting"
    for _ in range(4):
        transfer.pieces.release()


def import_errors(module):
    """The pack's own `diffuseit.errors`, which is another than the tests' under the pack's name."""
    return importlib.import_module("..diffuseit.errors", module.__package__)
