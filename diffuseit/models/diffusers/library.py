"""The packages of the extra `diffuseit[diffusers]`: found when they are needed, and kept from talking."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from ...errors import DiffuseITError, ModelError
from ...schema import printable

EXTRA = "pip install 'diffuseit[diffusers]'"


def require_libraries() -> None:
    """Raise `ModelError` with the command to run if a package is missing."""
    for name in ("diffusers", "transformers"):
        try:
            import_module(name)
        except ImportError as error:
            raise ModelError(
                f"a diffusers checkpoint needs the package {name}, which is not installed: run `{EXTRA}`, "
                "with Python 3.11 or newer"
            ) from error


def library_class(library: str, name: str) -> Any:
    """Return a class of a package by its name, which is one of ours and never a file's."""
    try:
        return getattr(import_module(library), name)
    except (ImportError, AttributeError, RuntimeError) as error:
        reason = printable(" ".join(str(error).split())[:200])
        raise ModelError(f"{library} has no {name} here ({reason}): run `{EXTRA} --upgrade`") from error


@contextmanager
def failures(what: str) -> Iterator[None]:
    """Raise `ModelError`, beginning with `what`, for any failure in the block but a lack of memory."""
    try:
        yield
    except (DiffuseITError, MemoryError):
        raise
    except BaseException as error:
        # A panic in the tokenizers' Rust code is not even an Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = printable(" ".join(str(error).split())[:200]) or type(error).__name__
        raise ModelError(f"{what}: {reason}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep both packages from writing warnings and progress bars inside the block."""
    loggings = [import_module(f"{library}.utils.logging") for library in ("diffusers", "transformers")]
    before = [(logging.get_verbosity(), logging.is_progress_bar_enabled()) for logging in loggings]
    for logging in loggings:
        logging.set_verbosity_error()
        logging.disable_progress_bar()
    try:
        yield
    finally:
        for logging, (verbosity, bars) in zip(loggings, before, strict=True):
            logging.set_verbosity(verbosity)
            if bars:
                logging.enable_progress_bar()
