"""Files of the Hugging Face hub, as huggingface_hub finds them.

It knows the endpoint (`HF_ENDPOINT`), the token (`HF_TOKEN`), the offline switch (`HF_HUB_OFFLINE`), the cache and
the checksum of a file. The bytes come through `models/hub/http.py`: huggingface_hub starts an interrupted file anew.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from .background import NoAnswerError, call, pause
from .catalog import HubFile
from .http import PASSING, PATIENCE, DownloadError, Patience, Source, host_of, not_downloaded, writing

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata

Report = Callable[[str], None]
"""Called several times a second with a few words on what is being done. What it raises comes out unchanged."""


def locate(
    file: HubFile,
    target: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    most: int | None = None,
    report: Report = lambda note: None,
    patience: Patience = PATIENCE,
) -> Source:
    """Return address, checksum and size of `file`, which will be `target`, as the hub has it now.

    Raise `DownloadError` if it cannot be had, or if it is another file than the one with `sha256`.
    """
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    metadata = _metadata(file, target, report, patience)
    etag = (metadata.etag or "").strip('"')
    # The ETag of a large file is its SHA-256, that of a small one is git's.
    published = etag if re.fullmatch("[0-9a-f]{64}", etag) else None
    if sha256 and published and sha256 != published:
        raise DownloadError(
            f"{file.file} of {file.page} is not the file that the catalog knows (checksum {published[:16]}... "
            f"instead of {sha256[:16]}...): nothing was fetched"
        )
    commit = metadata.commit_hash or ""
    return Source(
        url=file.address_at(commit if re.fullmatch("[0-9a-f]{40}", commit) else "main"),
        headers=build_hf_headers(library_name="diffuseit"),
        sha256=sha256 or published,
        size=size or max(metadata.size or 0, 0) or None,
        most=most,
        page=file.page,
        name=f"its {file.file}",
    )


def _metadata(file: HubFile, target: Path, report: Report, patience: Patience) -> HfFileMetadata:
    from huggingface_hub import get_hf_file_metadata

    host = host_of(file.address)

    def ask() -> HfFileMetadata | Exception:
        try:
            return get_hf_file_metadata(file.address, timeout=patience.connect)
        except Exception as error:
            # The exceptions of its HTTP library change with its version.
            return error

    for attempt in count(1):
        answer: HfFileMetadata | Exception
        try:
            answer = call(ask, partial(report, f"waiting for {host}"), patience.connect + patience.window)
        except NoAnswerError as error:
            answer = error
        if not isinstance(answer, Exception):
            return answer
        status = getattr(getattr(answer, "response", None), "status_code", None)
        if status not in PASSING or attempt >= patience.attempts:
            raise _explain(answer, status, file, target) from answer
        pause(patience.pause * 2 ** (attempt - 1), partial(report, f"{host} answered {status}: trying again"))
    raise AssertionError("unreachable")


def _explain(error: Exception, status: object, file: HubFile, target: Path) -> DownloadError:
    from huggingface_hub import errors

    page, host = file.page, host_of(file.address)
    if isinstance(error, errors.GatedRepoError):
        return DownloadError(
            f"{page} asks for agreement: accept its terms there, then set HF_TOKEN to a token of your account",
            error,
        )
    if isinstance(error, errors.EntryNotFoundError):
        return DownloadError(f"{page} has no file {file.file} any more", error)
    if isinstance(error, errors.RepositoryNotFoundError):
        return DownloadError(
            f"{page} does not exist, or is private: for the latter set HF_TOKEN to a token that may read it",
            error,
        )
    unreached = None
    if isinstance(error, errors.OfflineModeIsEnabled):
        reason = "HF_HUB_OFFLINE is set"
    elif status is not None:
        reason = f"{host} answered {status}"
    else:
        unreached = host
        reason = f"no {'answer from' if isinstance(error, NoAnswerError) else 'connection to'} {host}"
    return not_downloaded(target, reason, page, f"its {file.file}", error, unreached)


def from_cache(file: HubFile, target: Path, report: Report = lambda note: None) -> bool:
    """Put `target` there from huggingface_hub's own cache, if the file is in it; as a link where that is possible."""
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(file.repo, file.file)
    if not isinstance(cached, str) or not Path(cached).is_file():
        return False
    try:
        with writing(target):
            target.unlink(missing_ok=True)
        os.link(Path(cached).resolve(), target)
    except OSError:
        with Path(cached).open("rb") as original, writing(target), target.open("wb") as copy:
            while block := original.read(1 << 20):
                copy.write(block)
                report("copying the file")
    return True
