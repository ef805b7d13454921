"""Files of the user that ComfyUI keeps in `user/default`: its settings, and the records of this pack."""

from pathlib import Path
from typing import Any

import folder_paths

from ...diffuseit.errors import InputError
from ...diffuseit.schema import LARGEST_JSON, parse


def user_file(name: str) -> Path:
    """Return the path of a file of the user. It need not exist."""
    return Path(folder_paths.get_user_directory(), "default", name)


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file, or an empty one if the file cannot be read."""
    try:
        # A pipe would keep the reader waiting.
        if not path.is_file() or path.stat().st_size > LARGEST_JSON:
            return {}
        values = parse(path.read_bytes(), path.name)
    except (OSError, InputError):
        return {}
    return values if isinstance(values, dict) else {}


def switch_setting(name: str, default: bool) -> bool:
    """Return a switch of ComfyUI's settings; `default` if it is not there, or is no switch."""
    value = read_object(user_file("comfy.settings.json")).get(name)
    return value if isinstance(value, bool) else default


def number_setting(name: str, default: float, low: float, high: float) -> float:
    """Return a number of ComfyUI's settings; `default` if it is not there, or not a number from `low` to `high`."""
    value = read_object(user_file("comfy.settings.json")).get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return default
    return value if low <= value <= high else default
