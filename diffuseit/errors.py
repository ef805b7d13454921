"""Errors a caller can act on. Everything the library raises on purpose derives from `DiffuseITError`."""


class DiffuseITError(Exception):
    """Base of all errors raised on purpose; its text says what to do."""


class InputError(DiffuseITError, ValueError):
    """An image, prompt or setting that cannot be used, found before any heavy work."""


class ModelError(DiffuseITError):
    """A checkpoint that is missing, damaged or of the wrong kind."""


class DivergedError(DiffuseITError):
    """Sampling left the finite numbers; the text names the step and the loss at fault."""
