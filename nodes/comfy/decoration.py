"""Code that only shows or records a run must not end it."""

import logging
from types import TracebackType

from comfy.model_management import InterruptProcessingException


class Decoration:
    """A context for such code: if it fails, the log says so once, and the run goes on.

    Interruptions pass through, since a user ends a run with them.
    """

    def __init__(self, what: str):
        self._what, self._said = what, False

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception) or isinstance(error, InterruptProcessingException):
            return False
        if not self._said:
            self._said = True
            logging.warning("DiffuseIT goes on without %s, because:", self._what, exc_info=error)
        return True
