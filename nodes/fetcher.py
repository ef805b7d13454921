"""The sidebar's queue of downloads: one at a time, in a thread that ends with ComfyUI."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from ..diffuseit.errors import DiffuseITError
from ..diffuseit.models.hub.catalog import Entry
from ..diffuseit.models.hub.http import OnProgress, Progress


class Stopped(Exception):  # noqa: N818
    """The user stopped a download. The bytes received so far are kept for the next time."""


@dataclass(frozen=True)
class Job:
    """The state of the download of one checkpoint, with `done` and `total` in bytes.

    `note` says what a running download does while it receives no bytes. `error` says in one sentence why it failed,
    `details` is the text of the library's error, and `host` is the host that cannot be reached, if that is the reason.
    """

    name: str
    state: Literal["waiting", "running", "stopping", "stopped", "failed", "done"] = "waiting"
    done: int = 0
    total: int = 0
    note: str | None = None
    error: str | None = None
    details: str | None = None
    host: str | None = None

    @property
    def active(self) -> bool:
        return self.state in ("waiting", "running", "stopping")


class Fetcher:
    """A queue of downloads and the last job of each checkpoint.

    `fetch(entry, on_progress)` downloads one checkpoint. `tell(job)` is called in any thread whenever a job changes.
    """

    def __init__(self, fetch: Callable[[Entry, OnProgress], object], tell: Callable[[Job], None]):
        self._fetch, self._tell = fetch, tell
        self._jobs: dict[str, Job] = {}
        self._queue: list[Entry] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def jobs(self) -> dict[str, Job]:
        """Return the last job of each requested checkpoint by name."""
        with self._lock:
            return dict(self._jobs)

    def start(self, entry: Entry) -> Job:
        """Queue a checkpoint, unless it is queued or running already, and return its job."""
        with self._lock:
            job = self._jobs.get(entry.name)
            if job and job.active:
                return job
            job = self._jobs[entry.name] = Job(entry.name, total=entry.size)
            self._queue.append(entry)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="DiffuseIT downloads", daemon=True)
                self._thread.start()
        self._announce(job)
        return job

    def stop(self, name: str) -> None:
        """Remove a checkpoint from the queue, or let its download end soon."""
        with self._lock:
            job = self._jobs.get(name)
            if job is None or not job.active:
                return
            queued = [entry for entry in self._queue if entry.name == name]
            self._queue = [entry for entry in self._queue if entry.name != name]
            job = self._jobs[name] = replace(job, state="stopped" if queued else "stopping")
        self._announce(job)

    def _work(self) -> None:
        while (entry := self._next()) is not None:
            try:
                self._fetch(entry, partial(self._on_progress, entry))
                self._change(entry, state="done", note=None, done=self._jobs[entry.name].total)
            except Stopped:
                self._change(entry, state="stopped", note=None)
            except DiffuseITError as error:
                details, host = getattr(error, "details", None), getattr(error, "host", None)
                self._change(entry, state="failed", note=None, error=str(error), details=details, host=host)
            except Exception as error:
                logging.exception("DiffuseIT: the download of %s failed, because:", entry.name)
                self._change(entry, state="failed", note=None, error=f"{type(error).__name__}: {error}")

    def _next(self) -> Entry | None:
        """Return the next checkpoint, marked as running; None if the queue is empty and the thread ends."""
        with self._lock:
            if not self._queue:
                self._thread = None
                return None
            entry = self._queue.pop(0)
            job = self._jobs[entry.name] = replace(self._jobs[entry.name], state="running")
        self._announce(job)
        return entry

    def _on_progress(self, entry: Entry, progress: Progress) -> None:
        """Announce what a person can see: whole percents of the network's file, and what a download waits for."""
        job = self._jobs[entry.name]
        if job.state == "stopping":
            raise Stopped
        if progress.note != job.note:
            self._change(entry, note=progress.note)
        # A tokenizer is small.
        if progress.file == entry.file:
            total = progress.total or entry.size
            if 100 * progress.done // total != 100 * job.done // job.total:
                self._change(entry, done=progress.done, total=total)

    def _change(self, entry: Entry, **changes: Any) -> None:
        with self._lock:
            job = self._jobs[entry.name] = replace(self._jobs[entry.name], **changes)
        self._announce(job)

    def _announce(self, job: Job) -> None:
        """Tell the page. If that fails, the download goes on."""
        try:
            self._tell(job)
        except Exception:
            logging.exception("DiffuseIT: nobody could be told of the download of %s, because:", job.name)
