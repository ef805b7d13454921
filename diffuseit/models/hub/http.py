"""One file over HTTP: resumed where it broke off, checked, and under its name only when whole.

Requests and urllib3 do the protocol and the proxies (`HTTPS_PROXY`, `NO_PROXY`). pooch, which would be the
other choice, throws an unfinished file away and so cannot resume: for files of gigabytes that is the point.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

import requests

from ...errors import ModelError

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there and the bytes there will be (None: the server does not say)."""

CHUNK = 64 * 1024  # what a broken connection loses at most
RESERVE = 64 * 1024 * 1024  # bytes of the disk that are left alone
_HOPELESS = (
    requests.exceptions.TooManyRedirects,
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
)
PASSING = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server. `attempts` in a row without a new byte end the transfer."""

    connect: float = 20.0
    read: float = 60.0  # seconds without a byte
    attempts: int = 5
    pause: float = 1.0  # before the second attempt; doubles
    longest_pause: float = 120.0  # a server that asks for more is taken at its word: later


PATIENCE = Patience()


@dataclass(frozen=True)
class Source:
    """What is fetched, and what is known of it before."""

    url: str
    headers: Mapping[str, str]
    sha256: str | None = None
    size: int | None = None
    page: str | None = None  # where a person sees the file


class _RetryError(Exception):
    """A failure that may pass; `wait` is what the server asked for."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def partial_paths(target: Path) -> tuple[Path, Path]:
    """The unfinished file beside `target`, and the note of which version of it the server had."""
    return target.with_name(f".{target.name}.part"), target.with_name(f".{target.name}.version")


def fetch(
    source: Source, target: Path, progress: Progress | None = None, patience: Patience = PATIENCE
) -> str:
    """Fetches `source` as `target`, going on from what an earlier call left; returns the file's SHA-256.

    One process at a time: the caller holds the lock. Raises `ModelError`; what was fetched stays for the next
    call, unless it is wrong.
    """
    part, version = partial_paths(target)
    resumed = part.exists() and part.stat().st_size > 0
    for again in (resumed, False):
        _complete(source, part, version, progress or (lambda done, total: None), patience)
        digest = sha256_of(part)
        if source.sha256 in (None, digest):
            part.replace(target)
            version.unlink(missing_ok=True)
            return digest
        size = part.stat().st_size
        part.unlink()
        version.unlink(missing_ok=True)
        if not again:  # a resumed file may have been spoiled here; a fresh one is what the server has
            break
    raise ModelError(
        f"{target.name} from {source.url} has the checksum {digest[:16]}... ({size} bytes) instead of "
        f"{str(source.sha256)[:16]}...: it was thrown away; try again, or from another network"
    )


def _complete(source: Source, part: Path, version: Path, progress: Progress, patience: Patience) -> None:
    """Attempts until the file is as long as it should be."""
    failures, most = 0, _length(part)
    with requests.Session() as session:
        while True:
            try:
                _attempt(session, source, part, version, progress, patience)
                return
            except _RetryError as error:
                failures = 1 if _length(part) > most else failures + 1
                most = max(most, _length(part))
                if failures >= patience.attempts:
                    raise ModelError(
                        f"{source.url}: {error}, {failures} times in a row; the {_length(part)} bytes that "
                        "came are kept: run the same command again to go on from there"
                    ) from error
                wait = patience.pause * 2 ** (failures - 1) if error.wait is None else error.wait
                if wait > patience.longest_pause:
                    raise ModelError(
                        f"{source.url}: {error}, and asks to come back in {wait:.0f} s"
                    ) from error
                time.sleep(wait)


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _attempt(
    session: requests.Session,
    source: Source,
    part: Path,
    version: Path,
    progress: Progress,
    patience: Patience,
) -> None:
    """One request. Returns when the file is whole, raises `_RetryError` when another request may help."""
    have = _length(part)
    if source.size is not None and have >= source.size:
        if have == source.size:
            return
        part.unlink()
        have = 0
    headers = {"User-Agent": "diffuseit", **source.headers, "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if known := _read(version):
            headers["If-Range"] = known
        elif source.sha256 is None:  # nothing would tell the old version's bytes from the new one's
            have = 0
            del headers["Range"]
    try:
        with session.get(
            source.url, headers=headers, stream=True, timeout=(patience.connect, patience.read)
        ) as response:
            if response.status_code == 416 and response.headers.get("Content-Range") == f"bytes */{have}":
                return  # all of it is here already
            start, total = _accept(response, source, part, have)
            _note_version(response, version)
            _check_space(part, start, total)
            _write(response, part, start, total, progress)
    except requests.exceptions.SSLError as error:
        raise ModelError(f"{source.url}: no secure connection ({error}); is a proxy in between?") from error
    except requests.exceptions.ProxyError as error:
        raise _RetryError(f"the proxy does not answer ({_short(error)})") from error
    except _HOPELESS as error:
        raise ModelError(f"{source.url} cannot be fetched ({_short(error)})") from error
    except requests.exceptions.RequestException as error:
        raise _RetryError(f"the connection failed ({_short(error)})") from error
    _check_length(part, total, source)


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def _accept(response: requests.Response, source: Source, part: Path, have: int) -> tuple[int, int | None]:
    """(first byte of the body, bytes of the whole file), from the head of an answer that can be used."""
    status = response.status_code
    if source.url.startswith("https:") and not response.url.startswith("https:"):
        raise ModelError(f"{source.url} leads to {response.url}, which is not secure: nothing was fetched")
    if status == 416:  # no such range: the file is another one than the part here
        part.unlink(missing_ok=True)
        raise _RetryError("the server has not the part that is missing")
    if status in PASSING:
        raise _RetryError(f"the server answered {status} {response.reason}", _retry_after(response))
    if status not in (200, 206):
        page = f"; see {source.page}" if source.page else ""
        raise ModelError(f"{source.url}: the server answered {status} {response.reason}{page}")
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise ModelError(
            f"{source.url} gives a web page instead of the file: open it in a browser to see why"
        )
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise ModelError(f"{source.url} comes compressed, though that was not asked for: nothing was fetched")
    start, total = 0, _integer(response.headers.get("Content-Length"))
    if status == 206:
        start, total = _content_range(response.headers.get("Content-Range", ""))
        if start != have:
            part.unlink(missing_ok=True)
            raise _RetryError("the server sent another part than the one that was asked for")
    if source.size is not None and total is not None and total != source.size:
        raise ModelError(
            f"{source.url} has {total} bytes now, and {source.size} are expected: the file was changed; "
            "nothing was fetched"
        )
    return start, total


def _content_range(value: str) -> tuple[int, int | None]:
    """(5, 100) of "bytes 5-99/100"; (-1, None) of anything else."""
    unit, _, rest = value.partition(" ")
    span, _, total = rest.partition("/")
    first = _integer(span.partition("-")[0])
    return (first, _integer(total)) if unit == "bytes" and first is not None else (-1, None)


def _integer(text: str | None) -> int | None:
    return int(text) if text is not None and text.strip().isdecimal() else None


def _retry_after(response: requests.Response) -> float | None:
    value = response.headers.get("Retry-After", "")
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _read(version: Path) -> str | None:
    return version.read_text(encoding="utf-8") if version.exists() else None


def _note_version(response: requests.Response, version: Path) -> None:
    """Remembers a strong validator, the only kind that If-Range may carry."""
    etag = response.headers.get("ETag", "")
    known = etag if etag.startswith('"') else response.headers.get("Last-Modified")
    if known:
        version.write_text(known, encoding="utf-8")
    else:
        version.unlink(missing_ok=True)


def _check_space(part: Path, start: int, total: int | None) -> None:
    if total is None:
        return
    needed = total - start
    free = (
        shutil.disk_usage(part.parent).free + _length(part) - start
    )  # a fresh start overwrites what is there
    if free < needed + RESERVE:
        raise ModelError(
            f"{part.parent} has {free / 1e9:.2f} GB free, and {needed / 1e9:.2f} GB are still to come: "
            "make room, or choose another folder"
        )


def _write(
    response: requests.Response, part: Path, start: int, total: int | None, progress: Progress
) -> None:
    done = start
    progress(done, total)
    try:
        with part.open("ab" if start else "wb") as file:
            try:
                for chunk in response.iter_content(CHUNK):
                    file.write(chunk)
                    done += len(chunk)
                    progress(done, total)
            finally:
                file.flush()
                os.fsync(file.fileno())
    except requests.exceptions.RequestException:
        raise
    except OSError as error:
        raise ModelError(f"cannot write {part}: {error.strerror or error}") from error


def _check_length(part: Path, total: int | None, source: Source) -> None:
    """Too short: the connection was cut. Too long, as far as that is known: another file."""
    expected = source.size if source.size is not None else total
    have = _length(part)
    if expected is None or have == expected:
        return
    if have < expected:
        raise _RetryError(f"the connection ended after {have} of {expected} bytes")
    part.unlink()
    raise _RetryError(f"the server sent {have} bytes instead of {expected}")
