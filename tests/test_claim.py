"""Several processes on one folder: nothing is made twice, and nothing is lost when one of them dies."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from standin import replace_core
from typer.testing import CliRunner

from diffuseit.api import Result
from diffuseit.cli import app
from diffuseit.files import claim as claim_module
from diffuseit.files.claim import claim, claimed
from diffuseit.shards import Shard

ROOT = Path(__file__).parents[1]
WORKER = """
import sys, time
from pathlib import Path
from diffuseit.files import claim
claim.RENEWED_EVERY, claim.ABANDONED_AFTER, claim.LOOK_EVERY = 0.05, 1.0, 0.05
name, out, seconds, count = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
for _, target in claim.claimed([out / f"{n}.png" for n in range(count)], lambda path: path, lambda _: None):
    with (out.parent / "begun.txt").open("a") as log:
        log.write(f"{name} {target.name}\\n")
    time.sleep(seconds)
    with target.open("x") as file:
        file.write(name)
"""


def start(name: str, out: Path, seconds: float, count: int = 12) -> subprocess.Popen:
    arguments = [sys.executable, "-c", WORKER, name, str(out), str(seconds), str(count)]
    return subprocess.Popen(arguments, cwd=ROOT)


def begun(out: Path) -> list[tuple[str, str]]:
    log = out.parent / "begun.txt"
    return [tuple(line.split()) for line in log.read_text().splitlines()] if log.exists() else []


def names(folder: Path | str) -> list[str]:
    """The files but for the table of verdicts."""
    return sorted(path.name for path in Path(folder).iterdir() if path.name != "verdicts.csv")


def until(condition) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_processes_share_a_folder(tmp_path: Path):
    out = tmp_path / "out"
    workers = [start(name, out, 0.02) for name in ("one", "two", "three")]
    assert [worker.wait(30) for worker in workers] == [0, 0, 0]
    assert sorted(target for _, target in begun(out)) == sorted(f"{number}.png" for number in range(12))
    assert names(out) == sorted(f"{number}.png" for number in range(12))


def test_what_a_killed_process_had_claimed_is_taken_over_once(tmp_path: Path):
    out = tmp_path / "out"
    victim = start("victim", out, 30)
    until(lambda: begun(out))
    victim.kill()
    victim.wait()
    heirs = [start(name, out, 0.02) for name in ("one", "two")]
    assert [heir.wait(30) for heir in heirs] == [0, 0]
    assert begun(out)[0] == ("victim", "0.png")
    assert sorted(target for _, target in begun(out)[1:]) == sorted(f"{number}.png" for number in range(12))
    assert names(out) == sorted(f"{number}.png" for number in range(12))


@pytest.mark.skipif(os.name != "posix", reason="Windows cannot stop a process")
def test_a_process_that_was_asleep_overwrites_nothing_and_takes_no_claim_away(tmp_path: Path):
    out = tmp_path / "out"
    sleeper = start("sleeper", out, 0.5, count=1)
    until(lambda: begun(out))
    sleeper.send_signal(signal.SIGSTOP)
    heir = start("heir", out, 1.0, count=1)
    until(lambda: len(begun(out)) == 2)
    sleeper.send_signal(signal.SIGCONT)
    sleeper.wait(30)
    assert (out / "0.png").read_text() == "sleeper"
    assert heir.wait(30) == 1  # its own file was there: nothing is written twice
    assert names(out) == ["0.png"]


def test_a_slow_process_that_lives_keeps_its_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(claim_module, "RENEWED_EVERY", 0.05)
    monkeypatch.setattr(claim_module, "ABANDONED_AFTER", 0.5)
    with claim(tmp_path / "a.png") as mine:
        assert mine
        time.sleep(0.8)
        with claim(tmp_path / "a.png") as second:
            assert not second
    assert names(tmp_path) == []


def test_the_file_system_clock_decides_not_that_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with claim(tmp_path / "a.png") as mine:
        monkeypatch.setattr(time, "time", lambda: 1e12)
        with claim(tmp_path / "a.png") as second:
            assert mine and not second


def test_a_claim_of_long_ago_is_taken_over(tmp_path: Path):
    with claim(tmp_path / "a.png"):
        (file,) = tmp_path.iterdir()
        text = file.read_text()
    file.write_text(text)
    os.utime(file, (time.time() - 1000,) * 2)
    with claim(tmp_path / "a.png") as mine:
        assert mine
        assert len(names(tmp_path)) == 2
    assert names(tmp_path) == []


def test_what_fails_is_left_to_the_next_process(tmp_path: Path):
    work = [tmp_path / "a.png"]
    assert [number for number, *_ in claimed(work, Path, pytest.fail)] == [0]
    assert [number for number, *_ in claimed(work, Path, pytest.fail)] == [0]


# --- parts of a folder


@given(st.lists(st.text("abé写 .-", min_size=1), unique=True, max_size=30), st.integers(1, 12))
def test_each_name_is_in_one_part(names: list[str], of: int):
    assert all(sum(Shard(number, of).has(name) for number in range(1, of + 1)) == 1 for name in names)


def test_the_part_of_a_name_is_the_same_everywhere():
    assert [next(n for n in (1, 2, 3) if Shard(n, 3).has(f"{name}.png")) for name in "abcdef"] == [
        3,
        1,
        1,
        1,
        1,
        1,
    ]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Eight pictures in `in`, and a core that inverts colors. Return its calls."""
    calls: list[int] = []

    def translate(source, *, seed: int, **_) -> Result:
        calls.append(seed)
        return Result(-source)

    monkeypatch.chdir(tmp_path)
    replace_core(monkeypatch, translate)
    Path("in").mkdir()
    for name in "abcdefgh":
        Image.new("RGB", (64, 64), "red").save(f"in/{name}.png")
    return calls


def run(*arguments: object):
    return CliRunner().invoke(app, ["translate", "in", "--to", "winter", "-o", "out", *map(str, arguments)])


def test_parts_of_a_folder_are_disjoint_and_complete(folder: list[int]):
    made = 0
    for number in (1, 2, 3):
        result = run("--shard", f"{number}/3")
        assert result.exit_code == 0, result.output
        made += int(result.stdout.split()[0])
        assert "0 there already, 0 failed" in result.stdout
    assert made == len(folder) == 8
    assert names("out") == [f"{name}.png" for name in "abcdefgh"]
    assert len(Path("out/verdicts.csv").read_text().splitlines()) == 9


def test_the_command_waits_for_what_another_process_has_claimed(folder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(claim_module, "LOOK_EVERY", 0.01)
    with claim(Path("out/c.png")):
        monkeypatch.setattr(time, "sleep", lambda _: Path("out/c.png").write_text("another's"))
        result = run()
    assert "Waiting for 1 image that another process translates" in result.stderr
    assert "7 translated into out, 1 there already, 0 failed" in result.stdout
    assert len(folder) == 7 and Path("out/c.png").read_text() == "another's"
    assert len(names("out")) == 8


@pytest.mark.parametrize("text", ["5/4", "0/3", "3", "a/b", "-1/2", "1/1000000000000000"])
def test_parts_that_do_not_exist_are_refused_in_one_line(folder: list[int], text: str):
    result = run(f"--shard={text}")
    assert result.exit_code == 2 and "such as 3/16" in result.stderr and result.stderr.count("\n") == 1
    assert folder == [] and not Path("out").exists()


def test_a_part_of_one_picture_is_refused(folder: list[int]):
    result = CliRunner().invoke(app, ["translate", "in/a.png", "--to", "x", "--shard", "1/2"])
    assert result.exit_code == 2 and "--shard is for a folder: in/a.png is none" in result.stderr
