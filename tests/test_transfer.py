"""Transfers from servers that are slow, cut off, lie, refuse and redirect."""

import hashlib
import random
import shutil
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile_server import Server, claim, running, serve, stall, status, without_length, wrong_range

from diffuseit.errors import ModelError
from diffuseit.models.hub.http import CHUNK as PIECE
from diffuseit.models.hub.http import Patience, Progress, Source, fetch, partial_paths

CONTENT = random.Random(0).randbytes(700_001)
OTHER = random.Random(1).randbytes(700_001)
SHA = hashlib.sha256(CONTENT).hexdigest()
HURRY = Patience(connect=5, window=0.4, attempts=3, pause=0.01, longest_pause=2)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with running() as server:
        yield server


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "weights.pt"


def get(server: Server, target: Path, sha256: str | None = SHA, size: int | None = None, **options) -> str:
    return fetch(Source(f"{server.url}/weights.pt", {}, sha256, size), target, patience=HURRY, **options)


def is_whole(target: Path) -> bool:
    """The file is there and nothing else is."""
    return target.read_bytes() == CONTENT and list(target.parent.iterdir()) == [target]


def refused(server: Server, target: Path, **options) -> str:
    with pytest.raises(ModelError) as caught:
        get(server, target, **options)
    assert not target.exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_good_server(server: Server, target: Path) -> None:
    server.acts = [serve(CONTENT)]
    seen = []
    assert get(server, target, on_progress=lambda state: seen.append((state.done, state.total))) == SHA
    assert is_whole(target)
    assert seen[0] == (0, len(CONTENT)) and seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen) and len(seen) > 4


@pytest.mark.parametrize("sha256", [SHA, None])
def test_cut_off_and_resumed(server: Server, target: Path, sha256: str | None) -> None:
    server.acts = [serve(CONTENT, stop=2 * PIECE), serve(CONTENT, stop=4 * PIECE), serve(CONTENT)]
    get(server, target, sha256)
    assert is_whole(target)
    assert server.ranges == [None, f"bytes={2 * PIECE}-", f"bytes={6 * PIECE}-"]


def test_resumed_by_a_later_call(server: Server, target: Path) -> None:
    server.acts = [serve(CONTENT, stop=4 * PIECE), serve(CONTENT, stop=0)]
    message = refused(server, target)
    assert f"the {4 * PIECE} bytes that came are kept" in message
    server.acts = [serve(CONTENT)]
    get(server, target)
    assert is_whole(target)
    assert server.ranges[-1] == f"bytes={4 * PIECE}-"


def test_cut_off_and_no_ranges(server: Server, target: Path) -> None:
    server.acts = [serve(CONTENT, ranges=False, stop=4 * PIECE), serve(CONTENT, ranges=False)]
    get(server, target)
    assert is_whole(target)


def test_always_cut_off_without_ranges_ends(server: Server, target: Path) -> None:
    server.acts = [serve(CONTENT, ranges=False, stop=4 * PIECE)]
    assert "3 times in a row" in refused(server, target)
    assert len(server.requests) == 3


def test_the_file_changed_on_the_server(server: Server, target: Path) -> None:
    """Bytes of two versions never meet: If-Range where the server has versions, else a fresh start."""
    server.acts = [serve(OTHER, stop=4 * PIECE), serve(CONTENT, etag='"v2"')]
    get(server, target, None)
    assert is_whole(target)
    target.unlink()
    server.acts = [serve(OTHER, etag=None, stop=4 * PIECE), serve(CONTENT, etag=None)]
    get(server, target, None)
    assert is_whole(target)


def test_a_spoiled_part_is_fetched_anew(server: Server, target: Path) -> None:
    partial_paths(target)[0].write_bytes(OTHER[: 4 * PIECE])
    server.acts = [serve(CONTENT)]
    get(server, target)
    assert is_whole(target)
    assert server.ranges == [f"bytes={4 * PIECE}-", None]


@pytest.mark.parametrize("left", [CONTENT, CONTENT + b"more"])
def test_a_whole_or_overlong_part(server: Server, target: Path, left: bytes) -> None:
    for size in (None, len(CONTENT)):
        partial_paths(target)[0].write_bytes(left)
        server.acts = [serve(CONTENT)]
        get(server, target, size=size)
        assert is_whole(target)
        target.unlink()


def test_wrong_checksum(server: Server, target: Path) -> None:
    server.acts = [serve(OTHER)]
    message = refused(server, target)
    assert SHA[:16] in message and hashlib.sha256(OTHER).hexdigest()[:16] in message
    assert list(target.parent.iterdir()) == []
    assert len(server.requests) == 1


@pytest.mark.parametrize("difference", [-1000, 1000])
def test_lies_about_the_length(server: Server, target: Path, difference: int) -> None:
    server.acts = [claim(CONTENT, len(CONTENT) + difference)]
    refused(server, target)
    partial_paths(target)[0].unlink(missing_ok=True)  # all bytes may be there, and then nothing is wrong
    assert "are expected" in refused(server, target, size=len(CONTENT))
    assert len(server.requests) < 10


def test_no_length_at_all(server: Server, target: Path) -> None:
    server.acts = [without_length(CONTENT)]
    seen = []
    get(server, target, on_progress=lambda state: seen.append(state.total))
    assert is_whole(target)
    assert set(seen) == {None}
    target.unlink()
    server.acts = [without_length(CONTENT[:1000])]
    assert "checksum" in refused(server, target)
    assert "3 times in a row" in refused(server, target, size=len(CONTENT))


def test_another_part_than_asked_for(server: Server, target: Path) -> None:
    server.acts = [serve(CONTENT, stop=4 * PIECE), wrong_range(CONTENT), serve(CONTENT)]
    get(server, target)
    assert is_whole(target)


@pytest.mark.parametrize("code", [429, 500, 503])
def test_passing_failures(server: Server, target: Path, code: int) -> None:
    server.acts = [status(code), status(code, Retry_After="0"), serve(CONTENT)]
    get(server, target)
    assert is_whole(target)
    target.unlink()
    server.acts = [status(code)]
    assert f"answered {code}" in refused(server, target)


def test_told_to_come_back_much_later(server: Server, target: Path) -> None:
    server.acts = [status(429, Retry_After="3600")]
    assert "come back in 3600 s" in refused(server, target)
    assert len(server.requests) == 1


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_lasting_failures(server: Server, target: Path, code: int) -> None:
    server.acts = [status(code)]
    assert f"answered {code}" in refused(server, target)
    assert len(server.requests) == 1
    assert list(target.parent.iterdir()) == []


def test_a_page_instead_of_the_file(server: Server, target: Path) -> None:
    server.acts = [status(200, b"<html>Sign in</html>", Content_Type="text/html; charset=utf-8")]
    assert "web page" in refused(server, target, sha256=None)


def test_compressed_unasked(server: Server, target: Path) -> None:
    server.acts = [status(200, CONTENT, Content_Encoding="gzip")]
    assert "compressed" in refused(server, target)


def test_redirects(server: Server, target: Path) -> None:
    server.acts = [status(302, Location="/elsewhere"), serve(CONTENT, stop=4 * PIECE)]
    server.acts += [status(307, Location="/elsewhere"), serve(CONTENT)]
    get(server, target)
    assert is_whole(target)
    assert [path for _, path, _ in server.requests] == ["/weights.pt", "/elsewhere"] * 2
    assert server.ranges[-1] == f"bytes={4 * PIECE}-"
    target.unlink()
    server.acts = [status(302, Location="/weights.pt")]
    assert "redirects" in refused(server, target)
    assert len(server.requests) < 40  # requests follows 30, once
    with pytest.raises(ModelError, match="address cannot be used"):
        fetch(Source("weights.pt", {}), target)


def test_slow_is_no_failure_and_silent_is(server: Server, target: Path) -> None:
    server.acts = [serve(CONTENT, pause=0.06)]  # longer than the time without a byte allowed, as a whole
    get(server, target)
    assert is_whole(target)
    assert len(server.requests) == 1
    target.unlink()
    server.acts = [stall(CONTENT, 4 * PIECE, 1.5), serve(CONTENT)]
    get(server, target)
    assert is_whole(target)


def test_nobody_answers(tmp_path: Path, server: Server) -> None:
    port = server.server_port
    server.server_close()
    with pytest.raises(ModelError, match="no connection to 127.0.0.1"):
        fetch(Source(f"http://127.0.0.1:{port}/x", {}), tmp_path / "x", patience=HURRY)


def test_a_proxy_is_used(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.setenv("NO_PROXY", "")
    server.acts = [serve(CONTENT)]
    fetch(Source("http://models.invalid/weights.pt", {}, SHA), target, patience=HURRY)
    assert is_whole(target)
    assert server.requests[0][1] == "http://models.invalid/weights.pt"


def test_full_disk(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 1000))
    server.acts = [serve(CONTENT)]
    assert "make room" in refused(server, target)


def test_stopped_by_the_caller(server: Server, target: Path) -> None:
    """What the progress callback raises comes out unchanged, and the part stays for the next time."""

    class StopError(Exception):
        pass

    def stop(state: Progress) -> None:
        if state.done > 200_000:
            raise StopError

    server.acts = [serve(CONTENT)]
    with pytest.raises(StopError):
        get(server, target, on_progress=stop)
    assert not target.exists()
    get(server, target)
    assert is_whole(target)
    assert int(server.ranges[-1].removeprefix("bytes=").rstrip("-")) > 200_000
