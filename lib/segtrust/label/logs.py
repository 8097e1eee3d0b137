"""Logs without names of clients' files, of scans, and of patients; ``--verbose DEBUG`` holds nothing back."""

import logging
import sys
import traceback
from types import TracebackType
from typing import Any

from segtrust.errors import DeviceError, ModelNotFoundError, SegtrustError, StoreError

__all__ = ["NamesHidden", "hide_names"]

logger = logging.getLogger(__name__)

_TOLD = (StoreError, DeviceError, ModelNotFoundError)
"""Errors whose words name models, devices and the site's own files, but no scan and no patient."""
_OWN = ("segtrust", "uvicorn", "task_", "__main__", "root")


class NamesHidden(logging.Filter):
    """Takes out of a log line what may name a patient; to be put on handlers, which see every line.

    - Errors are named by class and code, since their words quote files; of a traceback the places in the code
      stay.
    - MONAI Label and other libraries write requests and file names into their lines: those below a warning
      are left out, of the others stays where they come from.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is written, with names taken out."""
        if logging.getLogger().level <= logging.DEBUG and logging.getLogger().level != logging.NOTSET:
            return True
        if not record.name.startswith(_OWN):
            if record.levelno < logging.WARNING:
                return False
            record.msg = (
                f"{record.levelname} at line {record.lineno} of {record.pathname}; --verbose DEBUG shows it"
            )
            record.args = ()
        elif isinstance(record.args, tuple):
            record.args = tuple(_without_names(argument) for argument in record.args)
        if isinstance(record.exc_info, tuple) and record.exc_info[1] is not None:
            record.exc_text = places(record.exc_info[1], record.exc_info[2])
            record.exc_info = None
        return True


def hide_names() -> None:
    """Put the filter on all handlers there are, and say without names what ends this process."""
    loggers = [logging.getLogger(), *map(logging.getLogger, logging.root.manager.loggerDict)]
    for handler in {handler for each in loggers for handler in each.handlers}:
        if not any(isinstance(entry, NamesHidden) for entry in handler.filters):
            handler.addFilter(NamesHidden())
    sys.excepthook = _log_end


def _log_end(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, where)
        return
    logger.critical("The process ends", exc_info=(kind, error, where))


def places(error: BaseException, where: TracebackType | None) -> str:
    """A traceback without the words of its errors.

    Args:
        error: the last one; what it came from follows.
        where: its traceback.

    Returns:
        Lines with files of the program, functions, classes and codes.
    """
    lines = [f"{_without_names(error)}", *traceback.format_tb(where)]
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        lines += ["after ", places(cause, cause.__traceback__)]
    return "\n".join(line.rstrip("\n") for line in lines)


def _without_names(argument: Any) -> Any:  # noqa: ANN401 -- of a log line
    if not isinstance(argument, BaseException):
        return argument
    name = type(argument).__name__
    if isinstance(argument, _TOLD):
        return f"{name}: {argument}"
    if isinstance(argument, SegtrustError):
        return f"{name} ({argument.code})"
    if isinstance(argument, OSError) and argument.strerror:
        return f"{name}: {argument.strerror}"  # without the file
    return name
