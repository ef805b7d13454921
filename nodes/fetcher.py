"""Downloads in the background: one after the other, in a thread that ends with ComfyUI."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from ..diffuseit.errors import DiffuseITError
from ..diffuseit.models.hub.catalog import Entry

Report = Callable[[str, int, int | None], None]
"""The file, the bytes that are there, the bytes there will be. Raises `Stopped` where the user wants no more."""


class Stopped(Exception):  # noqa: N818 (it is what the user asked for)
    """The user stopped a download; what came stays for the next time."""


@dataclass(frozen=True)
class Job:
    """How far the download of one checkpoint has come, in bytes; `error` says in words why it failed."""

    name: str
    state: Literal["waiting", "running", "stopping", "stopped", "failed", "done"] = "waiting"
    done: int = 0
    total: int = 0
    error: str | None = None

    @property
    def active(self) -> bool:
        return self.state in ("waiting", "running", "stopping")


class Fetcher:
    """The queue. `fetch(entry, report)` gets one checkpoint; `tell(job)` hears of every change, in any thread."""

    def __init__(self, fetch: Callable[[Entry, Report], object], tell: Callable[[Job], None]):
        self._fetch, self._tell = fetch, tell
        self._jobs: dict[str, Job] = {}
        self._waiting: list[Entry] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def jobs(self) -> dict[str, Job]:
        """The last job of each checkpoint that was asked for, by name."""
        with self._lock:
            return dict(self._jobs)

    def start(self, entry: Entry) -> Job:
        """Queues a checkpoint, unless it is on its way already; its job."""
        with self._lock:
            job = self._jobs.get(entry.name)
            if job and job.active:
                return job
            job = self._jobs[entry.name] = Job(entry.name, total=entry.size)
            self._waiting.append(entry)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="DiffuseIT downloads", daemon=True)
                self._thread.start()
        self._tell(job)
        return job

    def stop(self, name: str) -> None:
        """Takes a checkpoint out of the queue, or ends its download at the next piece that comes."""
        with self._lock:
            job = self._jobs.get(name)
            if job is None or not job.active:
                return
            waits = any(entry.name == name for entry in self._waiting)
            self._waiting = [entry for entry in self._waiting if entry.name != name]
            job = self._jobs[name] = replace(job, state="stopped" if waits else "stopping")
        self._tell(job)

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                entry = self._waiting.pop(0)
                job = self._jobs[entry.name] = replace(self._jobs[entry.name], state="running")
            self._tell(job)
            try:
                self._fetch(entry, partial(self._report, entry))
                self._change(entry, state="done", done=self._jobs[entry.name].total)
            except Stopped:
                self._change(entry, state="stopped")
            except DiffuseITError as error:
                self._change(entry, state="failed", error=str(error))
            except Exception as error:
                logging.exception("DiffuseIT: the download of %s failed, because:", entry.name)
                self._change(entry, state="failed", error=f"{type(error).__name__}: {error}")

    def _report(self, entry: Entry, file: str, done: int, total: int | None) -> None:
        job = self._jobs[entry.name]
        if job.state == "stopping":
            raise Stopped
        if file != entry.file:  # a tokenizer, which is small
            return
        total = total or entry.size
        if 100 * done // total != 100 * job.done // job.total:
            self._change(entry, done=done, total=total)

    def _change(self, entry: Entry, **what: Any) -> None:
        with self._lock:
            job = self._jobs[entry.name] = replace(self._jobs[entry.name], **what)
        self._tell(job)
