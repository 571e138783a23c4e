"""Start a tool in several processes on this machine, through torchrun."""

import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from .heartbeat import LAUNCHED
from .rank import usable_cores

logger = logging.getLogger(__name__)


def launch(processes: int, command: Sequence[str]) -> int:
    """Run a Python script in several processes until all have ended.

    torchrun starts them, forwards SIGINT and SIGTERM, and ends all when one fails.

    Args:
        command: the script, or ``-m`` and a module, and its arguments.

    Returns:
        The exit status: 0, that of the first process to fail, or 130 if a signal
        stopped them.
    """
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    os.environ[LAUNCHED] = "1"
    # One thread per core of this process's share, as for a single process.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // processes)))
    # The failed process has reported its failure better than PyTorch does.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    logging.getLogger("torch").addHandler(logging.NullHandler())
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    options = ["--standalone", f"--nproc-per-node={processes}"]
    if command[0] == "-m":
        options, command = [*options, "--module"], command[1:]
    arguments = run.parse_args(  # type: ignore[no-untyped-call]
        [*options, "--", *command]
    )
    try:
        run.run(arguments)  # type: ignore[no-untyped-call]
    except SignalException:
        return 130
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            logger.error(
                "process %d of %d was ended by %s; the same command resumes from the "
                "newest checkpoint",
                *(rank, processes, signal.Signals(-failure.exitcode).name),
            )
            return 1
        return int(failure.exitcode)
    return 0


def this_command() -> list[str]:
    """Return the script or module that is running, and its arguments."""
    spec = sys.modules["__main__"].__spec__
    if spec is None or Path(sys.argv[0]).name != "__main__.py":
        return [str(Path(sys.argv[0]).resolve()), *sys.argv[1:]]
    return ["-m", spec.name.removesuffix(".__main__"), *sys.argv[1:]]
