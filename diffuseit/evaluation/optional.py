"""The packages of `diffuseit[evaluation]`, which a translation does not need."""

from importlib import import_module
from types import ModuleType

from ..errors import ModelError


def optional(module: str, what: str) -> ModuleType:
    """Import a package. Raise `ModelError` that says how to get it, if `what` cannot be measured without it."""
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0].replace("_", "-")
        raise ModelError(
            f"{what} needs the package {package}: run `pip install 'diffuseit[evaluation]'` ({error})"
        ) from None
