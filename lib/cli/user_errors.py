"""Messages for users about errors, and the exit status of a tool after each."""

import contextlib
import logging
import sys
import traceback
from collections.abc import Iterator

from ..datasets.origins import own_files
from ..engine.dry_run import DryRunError
from ..engine.non_finite import NonFiniteLossError
from ..engine.out_of_memory import (
    TESTING_ADVICE,
    NotEnoughMemoryError,
    is_out_of_memory,
)
from ..engine.stop_signals import Interrupted
from ..utils.distributed import collectives
from ..utils.distributed.heartbeat import Failure
from ..utils.monitoring.logs import setup_logging

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def clear_errors() -> Iterator[None]:
    """Show users the message of an expected error, without a stack trace.

    Exit status: 2 for wrong input, 1 for a failed run, 130 for an interrupted one.
    """
    try:
        with shared_errors():
            yield
            collectives.finish()
    except (Exception, KeyboardInterrupt) as error:
        failure = _failure(error)
        if failure is None:
            raise
        logger.log(failure.level, "%s", failure.text)
        sys.exit(failure.status)


@contextlib.contextmanager
def shared_errors() -> Iterator[None]:
    """Log to the console; let all processes end with the first failure of any.

    Messages of ValueErrors name the user's own files, not those in the cache.
    """
    setup_logging()
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, ValueError) and len(error.args) == 1:
            error.args = (own_files(str(error)),)
        if collectives.is_distributed():
            stack = "".join(traceback.format_exception(error))
            collectives.end(_failure(error) or Failure(1, stack.rstrip()), error)
        raise


def _failure(error: BaseException) -> Failure | None:
    """Return the failure to report to users; None for an unexpected error."""
    if isinstance(error, Interrupted | KeyboardInterrupt):
        return Failure(130, str(error) or "interrupted", logging.WARNING)
    if isinstance(error, ValueError):
        return Failure(2, str(error))
    if isinstance(error, NonFiniteLossError | NotEnoughMemoryError | DryRunError):
        return Failure(1, str(error))
    if is_out_of_memory(error):
        return Failure(1, f"out of memory: {error}\n{TESTING_ADVICE}")
    if isinstance(error, OSError):
        return Failure(1, str(error))
    return None
