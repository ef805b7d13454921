"""Transfers from servers that are slow, cut off, lie, refuse and redirect."""

import gzip
import hashlib
import io
import os
import random
import shutil
import socket
import ssl
import threading
import time
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from hostile_server import (
    Act,
    Handler,
    Server,
    claim,
    dripping_head,
    endless,
    raw,
    running,
    serve,
    silence,
    stall,
    status,
    without_length,
)
from hypothesis import given
from hypothesis import strategies as st

from diffuseit.errors import ModelError
from diffuseit.models.hub import http
from diffuseit.models.hub.http import CHUNK as PIECE
from diffuseit.models.hub.http import DownloadError, Patience, Progress, Source, fetch, partial_paths

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


class StopError(Exception):
    """What a caller raises who wants no more."""


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


HALF = {"content": OTHER, "stop": 4 * PIECE}
DATED = {"Last_Modified": "Wed, 01 Jan 2025 00:00:00 GMT"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # The server says so.
        (serve(**HALF), serve(CONTENT, etag='"v2"')),
        # It has nothing that promises the same bytes.
        (serve(**HALF, etag=None), serve(CONTENT, etag=None)),
        (serve(**HALF, etag='W/"v1"'), serve(CONTENT, etag='W/"v1"')),
        (serve(**HALF, etag=None, **DATED), serve(CONTENT, etag=None, **DATED)),
        # It takes no notice of If-Range.
        (serve(**HALF), serve(CONTENT, etag='"v2"', heeds_if_range=False)),
        (serve(**HALF), serve(CONTENT, etag='W/"v1"', heeds_if_range=False)),
        (serve(**HALF), serve(CONTENT, etag=None, heeds_if_range=False)),
        (serve(**HALF), serve(CONTENT + b"more", heeds_if_range=False, total=len(CONTENT) + 4)),
    ],
)
def test_bytes_of_two_versions_never_meet(server: Server, target: Path, before: Act, after: Act) -> None:
    """Not even where no checksum is known."""
    server.acts = [before, after, serve(CONTENT)]
    get(server, target, None)
    assert target.read_bytes() in (CONTENT, CONTENT + b"more")
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("shift", [-PIECE, 1000])
def test_a_shifted_range_is_not_used(server: Server, target: Path, shift: int) -> None:
    server.acts = [serve(CONTENT, stop=4 * PIECE), serve(CONTENT, shift=shift), serve(CONTENT)]
    get(server, target, None)
    assert is_whole(target)


@pytest.mark.parametrize("etag", [None, 'W/"v1"'])
def test_a_checksum_allows_to_resume_what_the_server_cannot_name(
    server: Server, target: Path, etag: str | None
) -> None:
    server.acts = [serve(CONTENT, etag=etag, stop=4 * PIECE), serve(CONTENT, etag=etag)]
    get(server, target)
    assert is_whole(target)
    assert server.ranges == [None, f"bytes={4 * PIECE}-"]


def test_two_versions_that_met_are_told_by_the_checksum_and_begun_again_once(
    server: Server, target: Path
) -> None:
    server.acts = [serve(**HALF, etag=None), serve(CONTENT, etag=None)]
    get(server, target)
    assert is_whole(target)
    assert server.ranges == [None, f"bytes={4 * PIECE}-", None]
    target.unlink()
    server.requests.clear()
    server.acts = [serve(**HALF, etag=None), serve(OTHER, etag=None), serve(**HALF, etag=None)]
    server.acts += [serve(OTHER, etag=None)]
    assert "checksum" in refused(server, target)
    assert len(server.requests) == 4
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("note", ["[" * 100_000, "{}", '{"url": 5}', "\x1b", ""])
def test_a_part_whose_note_is_damaged_is_begun_again(server: Server, target: Path, note: str) -> None:
    part, version = partial_paths(target)
    part.write_bytes(OTHER[: 4 * PIECE])
    version.write_text(note)
    server.acts = [serve(CONTENT)]
    get(server, target, None)
    assert is_whole(target)
    assert server.ranges == [None]


@pytest.mark.parametrize("sha256", [SHA, None])
def test_a_part_of_another_file_is_begun_again(server: Server, target: Path, sha256: str | None) -> None:
    server.acts = [serve(OTHER, stop=4 * PIECE), serve(OTHER, stop=0)]
    other = Source(f"{server.url}/other.pt", {}, sha256 and hashlib.sha256(OTHER).hexdigest())
    with pytest.raises(ModelError):
        fetch(other, target, patience=HURRY)
    assert partial_paths(target)[0].stat().st_size == 4 * PIECE
    server.requests.clear()
    server.acts = [serve(CONTENT)]
    get(server, target, sha256)
    assert is_whole(target)
    assert server.ranges == [None]


def test_a_process_killed_between_two_versions_leaves_no_wrong_note(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, version = partial_paths(target)
    server.acts = [serve(OTHER, stop=4 * PIECE), serve(CONTENT, etag='"v2"')]
    write_text, notes = Path.write_text, []

    def die(path: Path, text: str, **options) -> None:
        notes.append(text)
        if len(notes) == 2:
            # The second version's note stands, and no byte of the first is left.
            assert path == version and part.read_bytes() == b""
            raise StopError
        write_text(path, text, **options)

    monkeypatch.setattr(Path, "write_text", die)
    with pytest.raises(StopError):
        get(server, target, None)
    monkeypatch.undo()
    get(server, target, None)
    assert is_whole(target)


VERSIONS = st.sampled_from([0, 1])
ETAGS = st.sampled_from(["strong", "weak", "same weak", "none"])
ANSWERS = st.lists(
    st.tuples(VERSIONS, ETAGS, st.integers(0, 1000), st.booleans(), st.sampled_from([0, -100, 50])),
    min_size=1,
    max_size=6,
)


@given(ANSWERS, st.booleans())
def test_no_sequence_of_answers_mixes_versions(
    tmp_path_factory: pytest.TempPathFactory, answers: list, with_checksum: bool
) -> None:
    """Two versions of one length, cut anywhere, named in any way, by servers that heed If-Range or do not."""
    contents = (CONTENT[:1000], OTHER[:1000])
    acts = []
    for version, kind, stop, heeds, shift in answers:
        etag = {"strong": f'"{version}"', "weak": f'W/"{version}"', "same weak": 'W/"v"', "none": None}[kind]
        acts.append(serve(contents[version], etag=etag, stop=stop, heeds_if_range=heeds, shift=shift))
    acts.append(serve(contents[0], etag='"0"'))
    target = tmp_path_factory.mktemp("versions") / "w.pt"
    sha256 = hashlib.sha256(contents[0]).hexdigest() if with_checksum else None
    patience = Patience(connect=5, window=5, attempts=9, pause=0, longest_pause=1)
    with pytest.MonkeyPatch.context() as patch, running() as server:
        # A cut loses less than this, and an attempt that brings as much is no failure.
        patch.setattr(http, "CHUNK", 10)
        server.acts = acts
        try:
            fetch(Source(f"{server.url}/w.pt", {}, sha256), target, patience=patience)
        except DownloadError:
            assert with_checksum and not target.exists()
        else:
            assert target.read_bytes() in (contents[:1] if with_checksum else contents)


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
    # With a size there is nothing to ask for, or nothing to resume.
    assert server.ranges[2:] == ([] if left == CONTENT else [None])


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


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "deflate, br"])
def test_compression_is_declined_and_refused(server: Server, target: Path, encoding: str) -> None:
    """A small answer may unpack to any size."""
    server.acts = [status(200, gzip.compress(CONTENT), Content_Encoding=encoding)]
    assert "compressed" in refused(server, target, sha256=None)
    assert server.requests[0][2]["accept-encoding"] == "identity"
    assert len(server.requests) == 1


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


def drip(content: bytes) -> Act:
    """Sends a byte a moment."""
    return serve(content, piece=1, pause=0.05)


def test_a_server_that_sends_next_to_nothing_is_as_good_as_dead(server: Server, target: Path) -> None:
    server.acts = [drip(CONTENT)]
    start = time.monotonic()
    message = refused(server, target)
    assert "sends next to nothing" in message and "3 times in a row" in message
    assert len(server.requests) == 3 and time.monotonic() - start < 10


@pytest.mark.parametrize("act", [silence(20), dripping_head])
def test_a_server_that_does_not_answer_in_time(server: Server, target: Path, act: Act) -> None:
    server.acts = [act]
    patience = Patience(connect=0.2, window=0.3, attempts=2, pause=0)
    with pytest.raises(DownloadError, match=r"no (answer from|connection to) 127\.0\.0\.1\)"):
        fetch(Source(f"{server.url}/weights.pt", {}, SHA), target, patience=patience)


def miserly(handler: Handler) -> None:
    """Answers any range with its first 1000 bytes."""
    start = int((handler.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
    headers = {"ETag": '"v1"', "Content-Range": f"bytes {start}-{start + 999}/{len(CONTENT)}"}
    handler.head(206, {**headers, "Content-Length": 1000})
    handler.wfile.write(CONTENT[start : start + 1000])


def test_a_server_that_gives_little_at_a_time_is_not_asked_for_ever(server: Server, target: Path) -> None:
    server.acts = [miserly]
    assert "3 times in a row" in refused(server, target)
    assert len(server.requests) == 3


def test_it_may_recover(server: Server, target: Path) -> None:
    server.acts = [drip(CONTENT), serve(CONTENT)]
    get(server, target)
    assert is_whole(target)


def hanging_lookup(*_: object, **__: object) -> None:
    time.sleep(5)
    raise socket.gaierror


@pytest.mark.parametrize("where", ["name", "silence", "head", "body", "drip", "pause"])
def test_every_wait_can_be_interrupted(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """With the patience of a real download, and although the server sends nothing."""
    server.acts = {
        "name": [serve(CONTENT)],
        "silence": [silence(20)],
        "head": [dripping_head],
        "body": [stall(CONTENT, 4 * PIECE, 20)],
        "drip": [drip(CONTENT)],
        "pause": [status(503, Retry_After="60")],
    }[where]
    if where == "name":
        monkeypatch.setattr(socket, "getaddrinfo", hanging_lookup)
    start = time.monotonic()

    def stop(state: Progress) -> None:
        if time.monotonic() - start > 0.5:
            raise StopError

    with pytest.raises(StopError):
        fetch(Source(f"{server.url}/weights.pt", {}, SHA), target, stop)
    assert time.monotonic() - start < 1.5


def test_a_caller_who_waits_is_told_what_for(server: Server, target: Path) -> None:
    server.acts = [status(503, Retry_After="1"), serve(CONTENT)]
    notes = []
    get(server, target, on_progress=lambda state: notes.append(state.note))
    assert "127.0.0.1 answered 503 Service Unavailable: trying again" in notes
    assert notes[-1] is None or notes[-1] == "checking the file"


def test_a_stopped_transfer_leaves_neither_thread_nor_connection(server: Server, target: Path) -> None:
    server.acts = [stall(CONTENT, 4 * PIECE, 20)]

    def stop(state: Progress) -> None:
        if state.done:
            raise StopError

    with pytest.raises(StopError):
        get(server, target, on_progress=stop)
    left = [thread for thread in threading.enumerate() if thread.name == "DiffuseIT download"]
    for thread in left:
        thread.join(2)
        assert not thread.is_alive()


@pytest.mark.parametrize("error", [OSError("a callback's own"), requests.ConnectionError(), ValueError()])
def test_what_a_callback_raises_comes_out_unchanged(server: Server, target: Path, error: Exception) -> None:
    server.acts = [serve(CONTENT)]

    def fail(state: Progress) -> None:
        if state.done and not server.closing.is_set():
            server.closing.set()
            raise error

    with pytest.raises(type(error)) as caught:
        get(server, target, on_progress=fail)
    assert caught.value is error


def test_an_unknown_host_is_told_at_once_and_what_to_do_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    asked = []

    def unknown(host: str, *_: object, **__: object) -> None:
        asked.append(host)
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(DownloadError) as caught:
        fetch(Source("https://models.invalid/w.pt", {}), tmp_path / "w.pt")
    assert str(caught.value) == (
        "w.pt was not downloaded (no connection to models.invalid): try again, or open https://models.invalid/w.pt "
        f"in a browser and save the file as {tmp_path / 'w.pt'}"
    )
    assert "name resolution" in caught.value.details
    assert caught.value.host == "models.invalid"
    assert asked == ["models.invalid"]


def test_a_network_that_is_gone_for_a_moment_is_waited_for(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.acts = [serve(CONTENT, stop=4 * PIECE), serve(CONTENT)]
    lookup, asked = socket.getaddrinfo, []

    def gone(*arguments: object, **options: object) -> object:
        asked.append(arguments)
        if len(asked) == 2:
            raise socket.gaierror(-3, "Temporary failure in name resolution")
        return lookup(*arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", gone)
    get(server, target)
    assert is_whole(target) and len(asked) == 3


def test_a_host_that_refuses_is_told_after_seconds(tmp_path: Path, server: Server) -> None:
    port = server.server_port
    server.server_close()
    began = time.monotonic()
    with pytest.raises(ModelError, match=r"no connection to 127\.0\.0\.1\): try again, or open"):
        fetch(Source(f"http://127.0.0.1:{port}/x", {}), tmp_path / "x")
    assert time.monotonic() - began < 5


def test_a_proxy_is_used(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.setenv("NO_PROXY", "")
    server.acts = [serve(CONTENT)]
    fetch(Source("http://models.invalid/weights.pt", {}, SHA), target, patience=HURRY)
    assert is_whole(target)
    assert server.requests[0][1] == "http://models.invalid/weights.pt"


def disk(monkeypatch: pytest.MonkeyPatch, *free: int) -> None:
    """Lets the disk have so many bytes free, one a look and the last one for ever after."""
    usage, left = namedtuple("usage", "total used free"), list(free)
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _: usage(0, 0, left.pop(0) if len(left) > 1 else left[0])
    )


def test_some_of_the_disk_is_left_free(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.acts = [serve(CONTENT)]
    disk(monkeypatch, len(CONTENT) + http.RESERVE - 1)
    message = refused(server, target)
    assert "make room" in message and str(target.parent) in message
    disk(monkeypatch, len(CONTENT) + http.RESERVE)
    get(server, target)
    assert is_whole(target)


@pytest.mark.parametrize("act", [serve(CONTENT), without_length(CONTENT)])
def test_a_disk_that_fills_up_meanwhile(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch, act: Act
) -> None:
    server.acts = [act]
    disk(monkeypatch, 10**9, 10**9, http.RESERVE - 1)
    assert "make room" in refused(server, target)
    assert partial_paths(target)[0].stat().st_size == 2 * PIECE


def test_the_bytes_are_on_the_disk_before_the_file_has_its_name(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a crash of the machine would leave a file that looks whole."""
    synced, fsync = {}, os.fsync

    def remember(descriptor: int) -> None:
        fsync(descriptor)
        state = os.fstat(descriptor)
        synced[state.st_ino] = state.st_size
        assert not target.exists()

    monkeypatch.setattr(os, "fsync", remember)
    server.acts = [serve(CONTENT, stop=4 * PIECE), serve(CONTENT)]
    get(server, target)
    assert synced[target.stat().st_ino] == len(CONTENT)


@pytest.mark.parametrize("kind", ["folder in the way", "folder that is gone"])
def test_a_file_that_cannot_be_written(server: Server, target: Path, kind: str) -> None:
    server.acts = [serve(CONTENT)]
    if kind == "folder in the way":
        partial_paths(target)[0].mkdir()
    else:
        target = target.parent / "gone" / target.name
    assert "cannot write" in refused(server, target)


@pytest.mark.parametrize(
    ("act", "known", "most"),
    [
        (endless(), {"size": len(CONTENT)}, len(CONTENT)),
        (endless(Content_Length=str(len(CONTENT))), {"sha256": SHA}, len(CONTENT)),
        (endless(chunked=True), {"most": 10 * PIECE}, 10 * PIECE),
        (endless(), {"most": 10 * PIECE, "sha256": SHA}, 10 * PIECE),
    ],
)
def test_a_server_that_sends_without_end_is_cut_off(
    server: Server, target: Path, act: Act, known: dict, most: int
) -> None:
    server.acts = [act]
    largest = 0

    def watch(state: Progress) -> None:
        nonlocal largest
        largest = max(largest, state.done)

    with pytest.raises(DownloadError):
        fetch(Source(f"{server.url}/weights.pt", {}, **known), target, watch, HURRY)
    assert largest <= most and not target.exists()
    # What lies in the buffers of the connection, and of the thread that reads ahead.
    assert server.sent < 20_000_000


def test_a_length_that_cannot_be_right(server: Server, target: Path) -> None:
    server.acts = [claim(CONTENT, 10**15)]
    source = Source(f"{server.url}/weights.pt", {}, most=10**9)
    with pytest.raises(DownloadError, match="at most 1000000000 are expected"):
        fetch(source, target, patience=HURRY)
    server.acts = [without_length(CONTENT)]
    assert "does not say how long" in refused(server, target, sha256=None)
    assert len(server.requests) == 2


def test_the_body_of_a_redirect_is_not_read(server: Server, target: Path) -> None:
    server.acts = [endless(302, Location="/elsewhere"), serve(CONTENT)]
    get(server, target)
    assert is_whole(target)
    assert server.sent < 20_000_000


class Untrusted(requests.adapters.HTTPAdapter):
    """Stands for the way to an https server without a good certificate, or with a bad line."""

    def __init__(self, error: ssl.SSLError) -> None:
        super().__init__()
        self.error, self.tries = error, 0

    def send(self, *_: object, **__: object) -> requests.Response:
        self.tries += 1
        raise requests.exceptions.SSLError from self.error


@pytest.mark.parametrize(
    ("error", "message", "tries"),
    [
        (ssl.SSLCertVerificationError(), "the certificate of models.invalid is not trusted", 1),
        (ssl.SSLEOFError(), r"no connection to models\.invalid\)", 2),
    ],
)
def test_a_bad_certificate_is_for_good_and_a_bad_line_is_not(
    target: Path, monkeypatch: pytest.MonkeyPatch, error: ssl.SSLError, message: str, tries: int
) -> None:
    adapter = Untrusted(error)
    monkeypatch.setattr(requests.Session, "get_adapter", lambda session, url: adapter)
    with pytest.raises(DownloadError, match=message):
        fetch(Source("https://models.invalid/w.pt", {}), target, patience=HURRY)
    assert adapter.tries == tries


class Secure(requests.adapters.HTTPAdapter):
    """Stands for an https server: redirects to `location`."""

    def __init__(self, location: str) -> None:
        super().__init__()
        self.location = location
        self.asked: list[str] = []

    def send(self, request: requests.PreparedRequest, **_: object) -> requests.Response:
        assert request.url
        self.asked.append(request.url)
        response = requests.Response()
        response.status_code, response.url = 302, request.url
        response.headers["Location"] = self.location
        response.raw = io.BytesIO()
        return response


@pytest.mark.parametrize("through", ["", "https://models.invalid/second"])
def test_no_way_leads_from_https_to_http(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch, through: str
) -> None:
    """Not even the request is sent: it may hold a token."""
    server.acts = [serve(CONTENT)]
    adapters = {"https://models.invalid/first": Secure(through or f"{server.url}/weights.pt")}
    adapters["https://models.invalid/second"] = Secure(f"{server.url}/weights.pt")
    monkeypatch.setattr(requests.Session, "get_adapter", lambda session, url: adapters[url])
    with pytest.raises(DownloadError, match="not secure"):
        fetch(Source("https://models.invalid/first", {}, SHA), target, patience=HURRY)
    assert server.requests == [] and not target.exists()


def test_the_token_stays_with_its_host(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And `~/.netrc` is not read at all: it may have credentials for either host."""
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "netrc").write_text("default login me password secret\n")
    elsewhere = f"http://localhost:{server.server_port}/blob"
    server.acts = [status(302, Location="/again"), status(302, Location=elsewhere), serve(CONTENT)]
    source = Source(f"{server.url}/weights.pt", {"authorization": "Bearer token"}, SHA)
    fetch(source, target, patience=HURRY)
    sent = [headers.get("authorization") for _, _, headers in server.requests]
    assert sent == ["Bearer token", "Bearer token", None]
    target.unlink()
    server.acts = [status(302, Location=elsewhere), serve(CONTENT)]
    get(server, target)
    assert [headers.get("authorization") for _, _, headers in server.requests[3:]] == [None, None]


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://[", "//", "http://\xff"]
)
def test_a_redirect_to_nowhere(server: Server, target: Path, location: str) -> None:
    server.acts = [status(302, Location=location)]
    assert "weights.pt was not downloaded" in refused(server, target)


def test_what_a_server_says_is_escaped_and_cut(server: Server, target: Path) -> None:
    server.acts = [raw(b"HTTP/1.1 403 \x1b[31mgo \x07away" + b"!" * 5000 + b"\r\nContent-Length: 0\r\n\r\n")]
    message = refused(server, target)
    assert message.isprintable() and "\\x1b[31mgo" in message and len(message) < 500


HEADERS = {
    "Content-Length": st.integers(-1, 10**20).map(str) | st.just("9" * 5000),
    "Content-Range": st.builds(
        "{} {}-{}/{}".format,
        st.sampled_from(["bytes", "items", ""]),
        st.integers(-5, 2000),
        st.integers(-5, 10**20),
        st.integers(0, 10**20) | st.just("*") | st.just("9" * 5000),
    ),
    "ETag": st.sampled_from(['"v1"', 'W/"v1"', "v1", '"' * 3, '"' + "e" * 3000 + '"']),
    "Retry-After": st.sampled_from(["0", "-1", "9" * 400, "Wed, 01 Jan 9999 00:00:00 GMT", "Mon, 32 x 0"]),
    "Location": st.sampled_from(["/", "//[", "http://", "http://\x80", "x:y", "http://127.0.0.1:99999/"]),
    "Content-Type": st.sampled_from(["text/html", "multipart/byteranges; boundary=x", ";"]),
    "Content-Encoding": st.sampled_from(["identity", "gzip", "", "x" * 1000]),
    "Transfer-Encoding": st.sampled_from(["chunked", "gzip, chunked", "identity"]),
    "Set-Cookie": st.just("a=b; Domain=.; Expires=x"),
    "Connection": st.just("close"),
}
STATUS = st.sampled_from([100, 200, 206, 204, 301, 302, 304, 308, 400, 416, 429, 503, 999]) | st.integers(
    -1, 10**6
)
HEAD = st.fixed_dictionaries({}, optional=HEADERS).map(
    lambda headers: "".join(f"{name}: {value}\r\n" for name, value in headers.items())
)
ANSWER = st.builds(
    lambda code, reason, head, body: f"HTTP/1.1 {code} {reason}\r\n{head}\r\n".encode("latin-1") + body,
    STATUS,
    st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=20),
    HEAD,
    st.binary(max_size=2000) | st.just(b"5\r\nhello\r\n0\r\n\r\n") | st.just(b"ffffffffffffffffff\r\nx"),
)


@given(st.lists(ANSWER | st.binary(max_size=300), min_size=1, max_size=4))
def test_no_answer_ends_in_another_error(
    tmp_path_factory: pytest.TempPathFactory, answers: list[bytes]
) -> None:
    """Heads that contradict themselves, numbers beyond all bounds, and bytes that are no HTTP at all."""
    target = tmp_path_factory.mktemp("answers") / "w.pt"
    patience = Patience(connect=2, window=2, attempts=3, pause=0, longest_pause=0.1)
    start = time.monotonic()
    with running() as server:
        server.acts = [raw(answer) for answer in answers]
        message = ""
        try:
            fetch(Source(f"{server.url}/w.pt", {}, most=1000), target, patience=patience)
        except DownloadError as error:
            message = str(error)
    assert message.isprintable() and len(message) < 1000
    assert target.stat().st_size <= 1000 if not message else not target.exists()
    assert time.monotonic() - start < 20


def test_stopped_by_the_caller(server: Server, target: Path) -> None:
    """What the progress callback raises comes out unchanged, and the part stays for the next time."""

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
