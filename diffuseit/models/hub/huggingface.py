"""Files of the Hugging Face hub, as huggingface_hub finds them.

It knows the endpoint (`HF_ENDPOINT`), the token (`HF_TOKEN`), the offline switch (`HF_HUB_OFFLINE`), the cache and
the checksum of a file. The bytes come through `models/hub/http.py`: huggingface_hub 2 starts an interrupted file anew.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import ModelError
from .catalog import HubFile
from .http import PASSING, PATIENCE, Patience, Source

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata


def locate(file: HubFile, sha256: str | None, size: int | None, patience: Patience = PATIENCE) -> Source:
    """Address, checksum and size of `file` as the hub has it now. Raises `ModelError` where it cannot be had.

    `sha256` and `size`, where known, must be the hub's.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    page = file.address.partition("/resolve/")[0]
    metadata = _metadata(file, page, patience)
    etag = (metadata.etag or "").strip('"')
    published = (
        etag if re.fullmatch("[0-9a-f]{64}", etag) else None
    )  # that of small files is git's, not a SHA-256
    if sha256 and published and sha256 != published:
        raise ModelError(
            f"{file.file} of {page} is not the file that the catalogue knows (checksum {published[:16]}... "
            f"instead of {sha256[:16]}...): nothing was fetched"
        )
    return Source(
        url=hf_hub_url(file.repo, file.file, revision=metadata.commit_hash),
        headers=build_hf_headers(library_name="diffuseit"),
        sha256=sha256 or published,
        size=size or metadata.size,
        page=page,
    )


def _metadata(file: HubFile, page: str, patience: Patience) -> HfFileMetadata:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    for attempt in count(1):
        try:
            return get_hf_file_metadata(hf_hub_url(file.repo, file.file), timeout=patience.connect)
        except (
            Exception
        ) as error:  # the exceptions of two HTTP libraries, and its own, change with its version
            status = getattr(getattr(error, "response", None), "status_code", None)
            if status not in PASSING or attempt >= patience.attempts:
                raise ModelError(_explain(error, file, page)) from error
            time.sleep(patience.pause * 2 ** (attempt - 1))
    raise AssertionError("unreachable")


def _explain(error: Exception, file: HubFile, page: str) -> str:
    from huggingface_hub import errors

    if isinstance(error, errors.OfflineModeIsEnabled):
        return f"{file.file} of {page} was not fetched: HF_HUB_OFFLINE is set; unset it, or save the file by hand"
    if isinstance(error, errors.GatedRepoError):
        return (
            f"{page} asks for agreement: accept its terms there, then set HF_TOKEN to a token of your account"
        )
    if isinstance(error, errors.EntryNotFoundError):
        return f"{page} has no file {file.file} any more"
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"{page} does not exist, or is private: for the latter set HF_TOKEN to a token that may read it"
        )
    reason = str(error).strip().splitlines()
    return f"{page} cannot be asked for {file.file}: {reason[0][:200] if reason else type(error).__name__}"


def from_cache(file: HubFile, target: Path) -> bool:
    """Puts `target` there from huggingface_hub's own cache, if the file is in it; a link where that works."""
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(file.repo, file.file)
    if not isinstance(cached, str) or not Path(cached).is_file():
        return False
    target.unlink(missing_ok=True)
    try:
        os.link(Path(cached).resolve(), target)
    except OSError:
        shutil.copyfile(cached, target)
    return True
