"""Files that appear whole or not at all."""

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from diffuseit.images.atomic import atomic_path

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no file modes")


def write(path: Path, content: str, **options: bool) -> None:
    with atomic_path(path, **options) as temporary:
        temporary.write_text(content)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_at_the_end_of_the_block(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


def test_a_block_that_fails_leaves_nothing(tmp_path: Path):
    def fail() -> None:
        with atomic_path(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert names(tmp_path) == []


def test_the_temporary_name_fits_where_the_real_one_does_and_no_list_of_models_shows_it(tmp_path: Path):
    path = tmp_path / f"{'y' * 243}.safetensors"
    with atomic_path(path) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".") and temporary.suffix == "" and len(temporary.name) < 32
        temporary.write_text("new")
    assert path.read_text() == "new"


@pytest.mark.parametrize("links", [True, False])
def test_without_overwriting_one_of_many_writers_gets_the_name(tmp_path: Path, monkeypatch, links: bool):
    def no_links(*_: object) -> None:
        raise OSError("this file system has no links")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    path = tmp_path / "a.txt"
    barrier, saved = threading.Barrier(8), []

    def save(number: int) -> None:
        barrier.wait()
        try:
            write(path, str(number), overwrite=False)
        except FileExistsError:
            return
        saved.append(number)

    threads = [threading.Thread(target=save, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_text()] == [str(number) for number in saved]
    assert names(tmp_path) == ["a.txt"]


@posix
def test_the_mode_follows_the_umask_and_the_umask_is_never_changed(tmp_path: Path, monkeypatch):
    before = os.umask(0o027)
    try:
        monkeypatch.setattr(os, "umask", lambda _: pytest.fail("the umask was changed"))
        write(tmp_path / "a.txt", "new")
        write(tmp_path / "b.txt", "new", overwrite=False)
    finally:
        monkeypatch.undo()
        os.umask(before)
    for name in names(tmp_path):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o640


def test_the_content_is_on_the_disk_before_the_name_is(tmp_path: Path, monkeypatch):
    path, synced = tmp_path / "a.txt", []
    sync = os.fsync

    def record(handle: int) -> None:
        assert not path.exists()
        synced.append(os.fstat(handle).st_size)
        sync(handle)

    monkeypatch.setattr(os, "fsync", record)
    write(path, "new")
    assert synced == [3]


def test_what_a_killed_process_left_is_removed_a_day_later(tmp_path: Path):
    with atomic_path(tmp_path / "a.txt") as temporary:
        young, old = (temporary.with_name(temporary.name[:-1] + digit) for digit in "ab")
    others = [tmp_path / ".diffuseit-notes", tmp_path / "b.txt"]
    for path in (young, old, *others):
        path.write_text("half")
    for path in (old, *others):
        os.utime(path, (0, time.time() - 25 * 3600))
    write(tmp_path / "a.txt", "new")
    assert names(tmp_path) == sorted(["a.txt", young.name, *(path.name for path in others)])
