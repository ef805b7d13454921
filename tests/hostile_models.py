"""Load strangers' model files in a process of its own, with limits on time and memory: `Child`.

It reads jobs, a line of JSON each: {"loader": "ddpm", "path": "..."}, and writes how each ended ("loaded", "refused",
or the exception of another kind), the message, seconds, and megabytes taken. {"fuzz": FILE, "examples": N} loads
mutations of a good file.
"""

import io
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

SECONDS = 20
MEGABYTES = 1000


@dataclass(frozen=True)
class Outcome:
    end: str
    message: str
    seconds: float
    megabytes: float


class Child:
    """The process; a new one where the last has died."""

    def __init__(self, **environment: str) -> None:
        tests = Path(__file__).parent
        paths = os.pathsep.join([str(tests.parent), str(tests)])
        self._environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths} | environment
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self._environment,
        )

    def load(self, loader: str, path: Path) -> Outcome:
        """Load a file."""
        answer = self._ask({"loader": loader, "path": str(path)}, 3 * SECONDS)
        return Outcome(**answer) if answer else self._death()

    def fuzz(self, path: Path, examples: int) -> dict[str, int]:
        """Load mutations of a file until one is neither loaded nor refused; return how many ended how."""
        answer = self._ask({"fuzz": str(path), "examples": examples}, 3 * SECONDS + examples)
        assert answer, self._death()
        assert "failed" not in answer, answer["failed"]
        return answer

    def _ask(self, job: dict[str, object], seconds: float) -> dict[str, Any]:
        """What it answers; nothing if it dies. It is killed if it takes longer: a hanging library hears no alarm."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        killer = threading.Timer(seconds, self._process.kill)
        killer.start()
        line = self._process.stdout.readline()
        killer.cancel()
        return json.loads(line) if line else {}

    def _death(self) -> Outcome:
        code = self._process.wait()
        self._start()
        return Outcome(f"died with {code}", "", 0.0, 0.0)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def _loaders() -> dict[str, Callable[[str], object]]:
    from diffuseit.models.clip import load_clip
    from diffuseit.models.ddpm_checkpoint import load_ddpm
    from diffuseit.models.vit import load_vit
    from diffuseit.pocket.judge import load_judge

    return {"ddpm": load_ddpm, "vit": load_vit, "clip": load_clip, "judge": load_judge}


def _load(loader: Callable[[str], object], path: str) -> Outcome:
    from diffuseit.errors import DiffuseITError

    started, before = time.perf_counter(), _peak()
    end, message = "loaded", ""
    try:
        with _limits():
            loader(path)
    except DiffuseITError as error:
        end, message = "refused", str(error)
    except BaseException as error:
        end, message = type(error).__name__, str(error)[:500]
    return Outcome(end, message, time.perf_counter() - started, _peak() - before)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def _limits() -> Iterator[None]:
    """Nothing in the block takes more than MEGABYTES beyond what there is, or SECONDS of the clock."""

    def too_late(*_: object) -> None:
        raise TimeoutError(f"still loading after {SECONDS} s")

    virtual = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (virtual + MEGABYTES * 2**20, hard))
    signal.signal(signal.SIGALRM, too_late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _fuzz(loader: Callable[[str], object], path: Path, examples: int) -> dict[str, Any]:
    good, mutated = path.read_bytes(), path.with_stem("mutated")
    ends: dict[str, int] = {}

    @settings(settings.get_profile("default"), max_examples=examples)
    @given(_mutations(good, path.suffix))
    def load(content: bytes) -> None:
        mutated.write_bytes(content)
        outcome = _load(loader, str(mutated))
        ends[outcome.end] = ends.get(outcome.end, 0) + 1
        assert outcome.end in ("loaded", "refused"), outcome
        assert outcome.message.isprintable() and len(outcome.message) < 2000, outcome
        assert outcome.seconds < SECONDS and outcome.megabytes < MEGABYTES, outcome

    try:
        load()
    except BaseException as error:
        return {"failed": f"{error!r} {getattr(error, '__notes__', '')}"[:5000]}
    return ends


def main() -> None:
    # The profile of hypothesis.
    import conftest  # noqa: F401

    loaders = _loaders()
    for line in sys.stdin:
        job = json.loads(line)
        if "fuzz" in job:
            path = Path(job["fuzz"])
            answer = _fuzz(loaders[path.stem], path, job["examples"])
        else:
            answer = asdict(_load(loaders[job["loader"]], job["path"]))
        print(json.dumps(answer), file=answers, flush=True)


def _mutations(good: bytes, suffix: str) -> SearchStrategy[bytes]:
    """Files that differ from `good` in a few bytes, in length, or in what their header or pickle says."""
    structured = _headers(good) if suffix == ".safetensors" else _structures(good)
    return structured | _bytes_of(st.just(good), len(good))


def _headers(good: bytes) -> SearchStrategy[bytes]:
    """Another header, of the length that the file says, before the same tensors."""
    length = int.from_bytes(good[:8], "little")
    header, tensors = json.loads(good[8 : 8 + length]), good[8 + length :]
    config = json.loads(header["__metadata__"]["config"])

    def packed(header: object) -> bytes:
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + tensors

    def with_config(config: object) -> bytes:
        return packed(header | {"__metadata__": {"config": json.dumps(config)}})

    return _changed(header).map(packed) | _changed(config).map(with_config)


def _structures(good: bytes) -> SearchStrategy[bytes]:
    """An archive with another pickle, or a file of the old format with other pickles at its start."""
    if not good.startswith(b"PK"):
        return _bytes_of(st.just(good), 3000)
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        members = {member.filename: archive.read(member) for member in archive.infolist()}
    name = next(name for name in members if name.endswith("data.pkl"))

    def packed(content: bytes) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for key, value in (members | {name: content}).items():
                archive.writestr(key, value)
        return file.getvalue()

    return _bytes_of(st.just(members[name]), len(members[name])).map(packed)


def _bytes_of(contents: SearchStrategy[bytes], length: int) -> SearchStrategy[bytes]:
    """A few bytes changed, removed or put in among the first `length`; or the end cut off."""
    edits = st.lists(
        st.tuples(st.integers(0, length), st.integers(0, 40), st.binary(max_size=12)), min_size=1, max_size=4
    )

    def edit(content: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
        for at, removed, put in edits:
            content = content[:at] + put + content[at + removed :]
        return content

    cut = st.builds(lambda content, at: content[:at], contents, st.integers(0, length))
    return st.builds(edit, contents, edits) | cut


def _changed(value: object) -> SearchStrategy[object]:
    """JSON that differs from `value` in one place."""
    number = st.integers(-(10**19), 10**19) | st.integers(-3, 300) | st.floats()
    leaf = (
        st.none() | st.booleans() | number | st.text(max_size=20) | st.sampled_from(["F8_E4M3", "F32", "I64"])
    )
    other = leaf | st.lists(leaf, max_size=5) | st.dictionaries(st.text(max_size=8), leaf, max_size=3)
    if isinstance(value, dict) and value:
        return st.one_of(
            other,
            st.sampled_from(sorted(value)).map(lambda key: {k: v for k, v in value.items() if k != key}),
            st.sampled_from(sorted(value)).flatmap(
                lambda key: _changed(value[key]).map(lambda new: value | {key: new})
            ),
            st.builds(lambda key, new: value | {key: new}, st.text(max_size=12), other),
        )
    if isinstance(value, list) and value:
        return other | st.integers(0, len(value) - 1).flatmap(
            lambda at: _changed(value[at]).map(lambda new: value[:at] + [new] + value[at + 1 :])
        )
    return other


if __name__ == "__main__":
    # What libraries print goes elsewhere.
    answers, sys.stdout = sys.stdout, sys.stderr
    main()
