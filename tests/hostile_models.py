"""Load strangers' model files in a process of its own, with limits: `python hostile_models.py < jobs > outcomes`.

A job is a line of JSON, {"loader": "ddpm", "path": "..."}; so is its outcome: how it ended ("loaded", "refused",
"crashed" with an exception of another kind), the message, seconds, and megabytes taken.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

SECONDS = 20
MEGABYTES = 1000


@dataclass(frozen=True)
class Outcome:
    end: str
    message: str
    seconds: float
    megabytes: float


def outcomes(jobs: Iterable[tuple[str, Path]]) -> list[Outcome]:
    """Run jobs, (loader, path) each, in a child process. Its end by a signal is the outcome of the job it was at."""
    lines = [json.dumps({"loader": loader, "path": str(path)}) for loader, path in jobs]
    tests = Path(__file__).parent
    child = subprocess.run(
        [sys.executable, __file__],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{tests.parent}{os.pathsep}{tests}"},
        timeout=500,
    )
    found = [Outcome(**json.loads(line)) for line in child.stdout.splitlines()]
    if len(found) < len(lines):
        found.append(Outcome(f"killed by {child.returncode}", child.stderr[-500:], 0.0, 0.0))
    return found


def main() -> None:
    from diffuseit.errors import DiffuseITError

    loaders = _loaders()
    signal.signal(signal.SIGALRM, _too_late)
    virtual = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = virtual + MEGABYTES * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for line in sys.stdin:
        job = json.loads(line)
        started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        signal.alarm(SECONDS)
        end, message = "loaded", ""
        try:
            loaders[job["loader"]](job["path"])
        except DiffuseITError as error:
            end, message = "refused", str(error)
        except BaseException as error:
            end, message = "crashed", f"{type(error).__name__}: {error}"[:500]
        signal.alarm(0)
        taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        print(json.dumps(asdict(Outcome(end, message, time.perf_counter() - started, taken))), flush=True)


def _loaders() -> dict[str, Callable[[str], object]]:
    from diffuseit.models.clip import load_clip
    from diffuseit.models.ddpm_checkpoint import load_ddpm
    from diffuseit.models.vit import load_vit
    from diffuseit.pocket.judge import load_judge

    return {"ddpm": load_ddpm, "vit": load_vit, "clip": load_clip, "judge": load_judge}


def _too_late(*_: object) -> None:
    raise TimeoutError(f"still loading after {SECONDS} s")


if __name__ == "__main__":
    main()
