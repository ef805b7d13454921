"""Where ComfyUI saves images, and what it writes into them."""

from collections.abc import Iterator
from pathlib import Path

import folder_paths
from comfy.cli_args import args

from ...diffuseit.errors import InputError

BATCH_NUMBER = "%batch_num%"


def metadata_allowed() -> bool:
    """Whether files may say anything of their making: not with ComfyUI's `--disable-metadata`."""
    return not args.disable_metadata


class Names:
    """Names of new files in the output folder, as ComfyUI's Save Image gives them: PREFIX_00001_."""

    def __init__(self, prefix: str, width: int, height: int):
        """Make the folder. Raise `InputError` for a prefix that leads out of the output folder, or cannot be used."""
        try:
            folder, self._name, self._number, self.subfolder, _ = folder_paths.get_save_image_path(
                prefix, folder_paths.get_output_directory(), width, height
            )
        except Exception as error:
            raise InputError(
                f"filename_prefix: nothing can be saved under this name ({str(error).splitlines()[0][:200]})"
            ) from None
        self._folder = Path(folder)

    def of(self, number: int, suffix: str) -> Iterator[Path]:
        """Yield names for the image `number` of a batch, until one is free."""
        name = self._name.replace(BATCH_NUMBER, str(number))
        while True:
            yield self._folder / f"{name}_{self._number:05}_{suffix}"
            self._number += 1
