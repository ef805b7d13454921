"""Errors a caller can act on. Everything the library raises on purpose derives from `DiffuseITError`."""

_ABOVE = __name__.removesuffix("diffuseit.errors")
"""What ComfyUI puts before the names of modules: the path of the pack's folder."""


class DiffuseITError(Exception):
    """Base of all errors raised on purpose; its text says what to do.

    ComfyUI shows the names of error classes with their modules. Theirs are the same on every machine.
    """

    __module__ = "diffuseit.errors"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.__module__ = cls.__module__.removeprefix(_ABOVE)


class InputError(DiffuseITError, ValueError):
    """An image, prompt or setting that cannot be used, found before any heavy work."""


class ModelError(DiffuseITError):
    """A checkpoint that is missing, damaged or of the wrong kind."""


class DivergedError(DiffuseITError):
    """Sampling gave a value that is not finite. The text names the step and the loss at fault."""


def in_words(error: Exception) -> str:
    """Return what went wrong: the text of an error raised on purpose, with the class of any other, on one line."""
    if isinstance(error, DiffuseITError):
        return str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
