"""The command `diffuseit presets`."""

from rich.table import Table

from ..errors import InputError
from . import console


def presets() -> None:
    """List the presets that `diffuseit translate --preset` takes."""
    from ..preset_files import list_presets, presets_folder, read_preset
    from ..presets import PRESETS

    table = Table("preset", "what it is")
    for preset in PRESETS.values():
        table.add_row(preset.name, preset.description)
    for name, file in list_presets(presets_folder()).items():
        try:
            description = read_preset(file).description
        except InputError as error:
            description = f"cannot be used: {error}"
        table.add_row(*map(console.plain, (name, description)))
    console.show(table)
    console.say(f"Folder of saved presets: {presets_folder()}")
