"""One file over HTTP: resumed where it broke off, checked, and under its name only when it is whole.

Requests and urllib3 do the protocol and the proxies (`HTTPS_PROXY`, `NO_PROXY`). pooch, the other choice, throws an
unfinished file away, which is the wrong thing to do with files of gigabytes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests

from ... import schema
from ...errors import InputError, ModelError
from ...files.checksum import sha256_of
from .background import NoAnswerError, call, in_background, pause

CHUNK = 64 * 1024
"""Bytes that a broken connection loses at most."""

RESERVE = 64 * 1024 * 1024
"""Bytes of the disk that are left free."""

PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Status codes of failures that may pass."""

FIRST_ATTEMPTS = 2
"""How often a server is tried that has not answered yet."""

_REDIRECTS = 10


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server, in seconds. `attempts` in a row that bring less than a `CHUNK` end a transfer.

    A server that sends fewer than `slowest` bytes a second over a `window` counts as dead. The `pause` before another
    attempt doubles each time; a server that asks for more than the `longest_pause` is not waited for.
    """

    connect: float = 20.0
    window: float = 30.0
    slowest: float = 1000.0
    attempts: int = 5
    pause: float = 1.0
    longest_pause: float = 120.0


PATIENCE = Patience()


@dataclass(frozen=True)
class Progress:
    """How far a file has come, in bytes. `total` is None while it is not known.

    `note` says in a few words what the download is doing while no bytes come.
    """

    file: str
    done: int = 0
    total: int | None = None
    note: str | None = None


OnProgress = Callable[[Progress], None]
"""Called several times a second, whether bytes come or not.

What it raises ends the download and comes out of it unchanged; the bytes that came are kept for the next time.
"""


@dataclass(frozen=True)
class Source:
    """What is fetched, and what is known of it before.

    `sha256` may be its first digits. `most` bounds a file whose `size` is not known. A person finds the file at `page`
    (None: at `url`) as `name`.
    """

    url: str
    headers: Mapping[str, str]
    sha256: str | None = None
    size: int | None = None
    most: int | None = None
    page: str | None = None
    name: str = "the file"


class DownloadError(ModelError):
    """A file that cannot be fetched. The text is one sentence; `details` are what the libraries said.

    `host` is the host that cannot be reached, where that is the reason.
    """

    def __init__(self, message: str, details: object = "", host: str | None = None) -> None:
        super().__init__(message)
        self.details = schema.printable(str(details)[:2000])
        self.host = host


class _RetryError(Exception):
    """A failure that may pass. `wait` is what the server asked for, in seconds."""

    def __init__(self, reason: str, *, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class _NotReachedError(_RetryError):
    """No answer from the server. That may pass, but hardly before it has answered once."""


class _UnknownHostError(_NotReachedError):
    """The name of the host cannot be resolved."""


@dataclass(frozen=True)
class _Version:
    """Which file a part is of: its address, and what tells it from other files that were there.

    `etag` is a strong one: neither a weak ETag nor a date promises the same bytes.
    """

    url: str = schema.text(longest=4000)
    etag: str | None = schema.text(None, longest=200)
    total: int | None = schema.number(None, low=0)
    sha256: str | None = schema.text(None, longest=64)

    def __post_init__(self) -> None:
        schema.check(self)


def partial_paths(target: Path) -> tuple[Path, Path]:
    """Return the unfinished file beside `target`, and the note that says which file it is a part of."""
    return target.with_name(f".{target.name}.part"), target.with_name(f".{target.name}.version")


def fetch(
    source: Source,
    target: Path,
    on_progress: OnProgress = lambda progress: None,
    patience: Patience = PATIENCE,
) -> str:
    """Fetch `source` as `target`, going on from what an earlier call left, and return the file's SHA-256.

    One process at a time: the caller holds the lock. Raise `DownloadError` if the file cannot be had; what was fetched
    stays for the next call, unless it is wrong.
    """
    return _Transfer(source, target, on_progress, patience).run()


class _Transfer:
    """One call of `fetch`."""

    def __init__(self, source: Source, target: Path, on_progress: OnProgress, patience: Patience) -> None:
        self.source, self.target, self.patience = source, target, patience
        self.part, self.note = partial_paths(target)
        self.on_progress = on_progress
        self.host = host_of(source.url)
        self.done, self.total = self._kept(), source.size
        # Whether the part holds bytes of several answers, or may.
        self.pieced = self.done > 0
        # The start of the window over which the rate is taken: the time, and the bytes that were there.
        self.since, self.before = 0.0, 0

    def run(self) -> str:
        for last in (False, True):
            self._complete()
            digest = sha256_of(self.part, lambda: self._report("checking the file"))
            if self.source.sha256 is None or digest.startswith(self.source.sha256):
                with writing(self.target):
                    self.part.replace(self.target)
                    self.note.unlink(missing_ok=True)
                return digest
            size = self._kept()
            self._discard()
            # Pieces may be of two versions, or were damaged here. What came in one piece is what the server has.
            if last or not self.pieced:
                break
        raise DownloadError(
            f"{self.target.name} from {self.host} has the checksum {digest[:16]}... ({size} bytes) instead of "
            f"{str(self.source.sha256)[:16]}...: it was thrown away; try again, or from another network",
            self.source.url,
        )

    def _complete(self) -> None:
        """Make attempts until the part is as long as it should be."""
        failures, most, answered = 0, self._kept(), False
        with requests.Session() as session:
            while True:
                try:
                    self._attempt(session)
                    return
                except _RetryError as error:
                    kept = self._kept()
                    failures = 1 if kept >= most + CHUNK else failures + 1
                    most = max(most, kept)
                    answered = answered or not isinstance(error, _NotReachedError)
                    if not answered and (failures >= FIRST_ATTEMPTS or isinstance(error, _UnknownHostError)):
                        raise self._failure(str(error), error) from error
                    if failures >= self.patience.attempts:
                        raise self._failure(f"{error}, {failures} times in a row", error) from error
                    wait = self.patience.pause * 2 ** (failures - 1) if error.wait is None else error.wait
                    if wait > self.patience.longest_pause:
                        raise self._failure(f"{error}, asking to come back in {wait:.0f} s", error) from error
                    note = f"{error}: trying again"
                pause(wait, partial(self._report, note))

    def _attempt(self, session: requests.Session) -> None:
        """Make one request. Return when the part is whole; raise `_RetryError` if another request may help."""
        known = self._known_version()
        if known is None:
            self._discard()
        have = self._kept()
        self.total = self.source.size or (known.total if known else None)
        if self.total is not None and have > self.total:
            self._discard()
            have = 0
        self.done = have
        if have and have == self.total:
            return
        headers = {"User-Agent": "diffuseit", **self.source.headers, "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        if have and known and known.etag:
            headers["If-Range"] = known.etag
        response = self._ask(session, headers)
        try:
            start, total = self._accept(response, known, have)
        except BaseException:
            response.close()
            raise
        self._save(response, start, total)

    # What is here already

    def _kept(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _discard(self) -> None:
        with writing(self.target):
            self.part.unlink(missing_ok=True)
            self.note.unlink(missing_ok=True)

    def _known_version(self) -> _Version | None:
        """Return which file the part is of, None if nothing would tell its bytes from those of another version.

        What tells them is a checksum, compared in the end, or a strong ETag, compared by the server.
        """
        try:
            values = schema.parse(self.note.read_bytes(), self.note.name)
            known = schema.from_json(_Version, values, self.note.name)
        except (OSError, InputError):
            known = _Version(self.source.url)
        if self.source.sha256 is not None:
            return known if known.sha256 in (None, self.source.sha256) else None
        return known if known.etag is not None and known.url == self.source.url else None

    # The answer

    def _ask(self, session: requests.Session, headers: dict[str, str]) -> requests.Response:
        """Return the head of an answer, with its body still to come."""
        self.host = host_of(self.source.url)
        patience = self.patience

        def get() -> requests.Response:
            with self._connecting(f"no connection to {self.host}", _NotReachedError):
                return _get(session, self.source.url, headers, (patience.connect, patience.window))

        waiting = partial(self._report, f"waiting for {self.host}")
        try:
            response = call(get, waiting, patience.connect + patience.window)
        except NoAnswerError:
            raise _NotReachedError(f"no answer from {self.host}") from None
        self.host = host_of(response.url)
        return response

    def _accept(
        self, response: requests.Response, known: _Version | None, have: int
    ) -> tuple[int, int | None]:
        """Return the first byte of the body and the bytes of the whole file, if this is an answer to use."""
        if response.status_code == 416:
            self._discard()
            raise _RetryError(f"{self.host} does not have the missing part")
        if response.status_code in PASSING:
            raise _RetryError(f"{self.host} answered {_status(response)}", wait=_retry_after(response))
        if response.status_code not in (200, 206):
            raise self._failure(f"{self.host} answered {_status(response)}")
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise self._failure(f"{self.host} sends a web page instead of the file")
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise self._failure(f"{self.host} sends the file compressed, which was not asked for")
        etag = response.headers.get("ETag", "")
        start, total = 0, _integer(response.headers.get("Content-Length", ""))
        if response.status_code == 206:
            start, total = _content_range(response.headers.get("Content-Range", ""))
            if start != have or (have and known and self._differs(known, etag, total)):
                self._discard()
                raise _RetryError(f"{self.host} sent a part of another file than the one that was begun")
            total = total or (known.total if known else None)
        self._check_total(response, total)
        if start:
            self.pieced = True
        else:
            strong = etag if re.fullmatch(r'"[!#-~]{0,190}"', etag) else None
            self._begin(_Version(self.source.url, strong, total, self.source.sha256))
        return start, total

    def _differs(self, known: _Version, etag: str, total: int | None) -> bool:
        """Whether a partial answer is of another version than the part."""
        if total is not None and known.total is not None and total != known.total:
            return True
        # Some servers leave out the ETag, which is against the standard; a checksum makes up for that.
        unnamed = not etag and self.source.sha256 is not None
        return known.etag is not None and etag != known.etag and not unnamed

    def _check_total(self, response: requests.Response, total: int | None) -> None:
        """Raise `DownloadError` for a length that cannot be right, and for a file whose end nothing would tell."""
        size, most = self.source.size, self.source.most
        chunked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
        if total is None and size is None and self.source.sha256 is None and not chunked:
            raise self._failure(f"{self.host} does not say how long the file is")
        if total is not None and size is not None and total != size:
            raise self._failure(f"{self.host} has a file of {total} bytes, and {size} are expected")
        if total is not None and most is not None and total > most:
            raise self._failure(f"{self.host} has a file of {total} bytes, and at most {most} are expected")

    # The body

    def _pieces(self, response: requests.Response) -> Iterator[bytes]:
        with response, self._connecting(f"the connection to {self.host} broke off"):
            yield from response.iter_content(CHUNK)

    def _begin(self, version: _Version) -> None:
        """Empty the part, then note what it will be a part of: at no time does the note speak of other bytes."""
        with writing(self.target):
            self.part.write_bytes(b"")
            self.note.write_text(json.dumps(schema.to_json(version)), encoding="ascii")

    def _save(self, response: requests.Response, start: int, total: int | None) -> None:
        """Append the body to the part."""
        self.done, self.total = start, self.source.size or total
        limit = self.total or self.source.most
        overlong = False
        self.since, self.before = time.monotonic(), self.done
        self._report()
        with writing(self.target):
            file = self.part.open("ab")
        pieces = in_background(self._pieces(response), self._watch)
        try:
            for piece in pieces:
                overlong = limit is not None and self.done + len(piece) > limit
                if overlong:
                    break
                self._check_space()
                with writing(self.target):
                    file.write(piece)
                self.done += len(piece)
                self._watch()
        finally:
            pieces.close()
            _hang_up(response)
            with writing(self.target), file:
                file.flush()
                os.fsync(file.fileno())
        if overlong:
            self._discard()
            raise self._failure(f"{self.host} sends more than {limit} bytes")
        if self.total is not None and self.done < self.total:
            raise _RetryError(f"{self.host} ended the connection after {self.done} of {self.total} bytes")

    def _watch(self) -> None:
        """Report, and raise `_RetryError` if the server is as good as dead."""
        self._report()
        now = time.monotonic()
        if now - self.since >= self.patience.window:
            if self.done - self.before < self.patience.slowest * (now - self.since):
                raise _RetryError(f"{self.host} sends next to nothing")
            self.since, self.before = now, self.done

    def _check_space(self) -> None:
        needed = self.total - self.done if self.total else 0
        with writing(self.target):
            free = shutil.disk_usage(self.part.parent).free
        if free < needed + RESERVE:
            raise DownloadError(
                f"{self.part.parent} has {free / 1e9:.2f} GB free, and {needed / 1e9:.2f} GB of {self.target.name} are "
                "still to come: make room, or choose another folder"
            )

    # What is said

    def _report(self, note: str | None = None) -> None:
        self.on_progress(Progress(self.target.name, self.done, self.total, note))

    def _failure(self, reason: str, error: BaseException | None = None) -> DownloadError:
        kept = f"; the {self._kept()} bytes that came are kept" if self._kept() else ""
        page = self.source.page or self.source.url
        details = (error and error.__cause__) or self.source.url
        host = self.host if isinstance(error, _NotReachedError) else None
        return not_downloaded(self.target, reason + kept, page, self.source.name, details, host)

    @contextmanager
    def _connecting(self, reason: str, kind: type[_RetryError] = _RetryError) -> Iterator[None]:
        """Turn the failures of requests into `kind`, or `DownloadError` where another try is no use."""
        try:
            yield
        except (requests.exceptions.TooManyRedirects, requests.exceptions.InvalidURL) as error:
            raise self._failure(f"its address cannot be used, {_short(error)}", error) from error
        except requests.exceptions.RequestException as error:
            if _caused_by(error, ssl.SSLCertVerificationError):
                raise self._failure(f"the certificate of {self.host} is not trusted", error) from error
            if isinstance(error, requests.exceptions.ProxyError):
                reason = "no connection through the proxy"
            if _caused_by(error, socket.gaierror):
                kind = _UnknownHostError
            raise kind(reason) from error


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn the failures of the disk into `DownloadError`."""
    try:
        yield
    except OSError as error:
        raise DownloadError(
            f"cannot write {target.name} in {target.parent}: {error.strerror or error}", error
        ) from error


def not_downloaded(
    target: Path,
    reason: str,
    page: str,
    name: str = "the file",
    details: object = "",
    host: str | None = None,
) -> DownloadError:
    """Return the error for a file that did not come: why, and how to get it by hand from `page`."""
    return DownloadError(
        f"{target.name} was not downloaded ({reason}): try again, or open {page} in a browser and save {name} as "
        f"{target}",
        details,
        host,
    )


def _get(
    session: requests.Session, url: str, headers: dict[str, str], timeout: tuple[float, float]
) -> requests.Response:
    """Return the answer to a GET, after redirects: from https only to https, and without the token to other hosts.

    Requests would read the body of a redirect whole, whatever its size, and send what `~/.netrc` has for any host.
    """
    sent = requests.structures.CaseInsensitiveDict(headers)
    try:
        for _ in range(_REDIRECTS):
            # With an `auth` of its own, a request gets none from ~/.netrc.
            request = session.prepare_request(requests.Request("GET", url, sent, auth=lambda bare: bare))
            settings = session.merge_environment_settings(url, {}, True, None, None)
            response = session.get_adapter(url).send(request, timeout=timeout, **settings)
            location = session.get_redirect_target(response)
            if location is None:
                return response
            response.close()
            here, url = url, urljoin(url, location)
            if _origin(here)[0] == "https" and _origin(url)[0] != "https":
                raise ValueError(f"it leads to {url}, which is not secure")
            if _origin(here) != _origin(url):
                sent.pop("Authorization", None)
    except ValueError as error:
        # Those of urllib.parse, of urllib3, and of requests.
        raise requests.exceptions.InvalidURL(str(error)) from error
    raise requests.exceptions.TooManyRedirects(f"more than {_REDIRECTS} redirects")


def _hang_up(response: requests.Response) -> None:
    """Wake the thread that waits for more of the body, if there is one."""
    with suppress(OSError, RuntimeError, ValueError):
        response.raw.shutdown()


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def host_of(url: str) -> str:
    """Return the host of an address, for a message."""
    try:
        host = urlsplit(url).hostname
    except ValueError:
        host = None
    return _short(host or url)


def _short(text: object) -> str:
    """Words of a server, or of a library about one, on one line."""
    return schema.printable(str(text)[:120])


def _status(response: requests.Response) -> str:
    return _short(f"{response.status_code} {response.reason}").strip()


def _caused_by(error: BaseException | None, kind: type[BaseException]) -> bool:
    """Whether `error`, or what it was raised from, is a `kind`."""
    for _ in range(10):
        if error is None or isinstance(error, kind):
            break
        reason = getattr(error, "reason", None)
        error = reason if isinstance(reason, BaseException) else error.__cause__ or error.__context__
    return isinstance(error, kind)


def _content_range(value: str) -> tuple[int, int | None]:
    """Return (5, 100) of "bytes 5-99/100", (-1, None) of what is not a range."""
    match = re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)", value.strip())
    return (int(match[1]), _integer(match[2])) if match else (-1, None)


def _integer(text: str) -> int | None:
    return int(text) if re.fullmatch("[0-9]{1,18}", text.strip()) else None


def _retry_after(response: requests.Response) -> float | None:
    value = response.headers.get("Retry-After", "")
    if (seconds := _integer(value)) is not None:
        return float(seconds)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError, OSError):
        return None
