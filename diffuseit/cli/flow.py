"""Where the correspondences of a film or of views come from: `diffuseit translate --flow`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..frames.views import Views
from ..models.hub.catalog import entry_named, require_models
from .options import is_folder

if TYPE_CHECKING:
    import torch

    from ..film import Link
    from ..frames.base import Sequence
    from ..images.resize import Fit

RAFT = "raft-large"
"""The row of the catalog whose network estimates flow."""


@dataclass(frozen=True)
class Flow:
    """A `source` of correspondences: "dis", "raft", "files", or "depth". `files` are those that it is read from.

    `link(fit, device)` returns the `link` of `translate_sequence`, for frames that enter the model by `fit`.
    """

    source: str
    link: Callable[[Fit, torch.device], Link]
    files: tuple[Path, ...] = ()


def flow_for(chosen: str | None, sequence: Sequence) -> Flow:
    """Return the flow of `--flow`, by default that of depth maps where there are some, else "dis".

    Raise `InputError` or `ModelError` for a folder that does not fit the sequence, and for weights that are missing.
    """
    if chosen == "raft":
        return _raft()
    if chosen in (None, "dis"):
        if chosen is None and isinstance(sequence, Views) and sequence.have_depth:
            return _depth(sequence)
        return Flow("dis", lambda fit, device: _estimated())
    return _files(Path(chosen).expanduser(), sequence)


def _estimated() -> Link:
    from ..film import link_by_flow

    return link_by_flow


def _raft() -> Flow:
    path = require_models([entry_named(RAFT)])[RAFT]

    from ..correspondence.raft import load_raft
    from ..film import link_by_network

    network = load_raft(path)
    return Flow("raft", lambda fit, device: link_by_network(network.to(device), device))


def _depth(views: Views) -> Flow:
    from ..frames.links import link_by_depth

    return Flow("depth", lambda fit, device: link_by_depth(views, fit))


def _files(folder: Path, sequence: Sequence) -> Flow:
    if not is_folder(folder):
        raise InputError(f"--flow {folder} is no folder: give dis, raft, or a folder with files of flow")

    from ..frames.flows import FlowFolder
    from ..frames.links import link_by_files

    flows = FlowFolder.open(folder).fitting(sequence.count, sequence.size)
    return Flow("files", lambda fit, device: link_by_files(flows, fit), flows.files)
