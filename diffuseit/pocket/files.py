"""The latent pocket models as files in the folders where ComfyUI's own loaders look."""

import filecmp
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import ModelError
from ..files.atomic import atomic_path

WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class PocketFile:
    """A file of weights. `folder` is ComfyUI's name of the folder for its kind, `name` is its own name there."""

    source: Path
    folder: str
    name: str

    def is_at(self, path: Path) -> bool:
        """Return whether `path` is a regular file with the same bytes."""
        return path.is_file() and filecmp.cmp(self.source, path, shallow=False)


FLUX = PocketFile(WEIGHTS / "flux.safetensors", "diffusion_models", "diffuseit_pocket_flux.safetensors")
TAESD = PocketFile(WEIGHTS / "taesd.safetensors", "vae", "diffuseit_pocket_taesd.safetensors")
FILES = (FLUX, TAESD)


def copy_files(folders: Mapping[str, Path]) -> list[Path]:
    """Copy `FILES` to `folders`, which are found by ComfyUI's names, and return the new paths.

    A copy that is there already stays as it is. Raise `ModelError`, before the first copy, if another file has one of
    the names, or if a folder cannot be written.
    """
    targets = {file: folders[file.folder] / file.name for file in FILES}
    missing = [file for file, target in targets.items() if not _is_there(file, target)]
    for file in missing:
        _copy(file, targets[file])
    return list(targets.values())


def _is_there(file: PocketFile, target: Path) -> bool:
    """Raise `ModelError` if something else is there."""
    try:
        if file.is_at(target):
            return True
        taken = target.is_symlink() or target.exists()
    except OSError as error:
        raise ModelError(f"{target} cannot be read: {error.strerror or error}") from None
    if taken:
        raise ModelError(f"{target} is another file: rename it, and try again")
    return False


def _copy(file: PocketFile, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(target, overwrite=False) as temporary:
            shutil.copyfile(file.source, temporary)
    except OSError as error:
        # Somebody else may have copied it meanwhile.
        if not _is_there(file, target):
            raise ModelError(f"cannot write in {target.parent}: {error.strerror or error}") from None
