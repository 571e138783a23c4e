"""Runs a function in several processes that share a gloo group, as a launcher would."""

import multiprocessing
import os
import runpy
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from faster_rcnn.cli.user_errors import clear_errors
from faster_rcnn.utils.distributed import collectives
from faster_rcnn.utils.distributed.rank import find_rank
from patience import PATIENCE

# Forked from a server that has imported everything, a process starts at once. (Forked
# from here, where gradients were computed, it could compute none.) All contexts share
# the server, so what another one preloads would replace these modules.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        *("faster_rcnn.cli.train", "pytest", "tiny_runs"),
        # The first collective call and a sharded optimizer import these.
        *("torch._dynamo", "torch.distributed.optim"),
    ]
)


def start_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Start a function in a process of its own, with this one's environment."""
    process = _CONTEXT.Process(
        target=_alone, args=({**os.environ}, function, arguments)
    )
    process.start()
    return process


def _alone(environ: dict[str, str], function: Callable[..., Any], given: Any) -> None:
    os.environ.update(environ)
    function(*given)


def start_program(
    words: Sequence[object], *, output: Path, errors: Path, folder: Path | None = None
) -> Any:
    """Start a script, or ``-m`` and a module, with arguments, as Python would.

    It leads a process group. Give it no second thread: what it forks could hang.

    Args:
        words: the script or ``-m`` and the module, and the arguments.
        output: file for its standard output.
        errors: file for its standard error.
        folder: where it runs.
    """
    return start_process(_program, list(map(str, words)), (output, errors), folder)


def _program(words: list[str], files: Sequence[Path], folder: Path | None) -> None:
    os.setsid()
    for number, file in enumerate(files, start=1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(folder or ".")
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    multiprocessing.set_start_method(None, force=True)  # as in a new process
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")


def in_processes(
    function: Callable[..., Any], *arguments: Any, processes: int = 2
) -> list[Any]:
    """Results of ``function(*arguments)`` in each process; all have to succeed."""
    ended = start_processes(function, *arguments, processes=processes)
    statuses = [status for status, _ in ended]
    assert statuses == [0] * processes
    return [result for _, result in ended]


def start_processes(
    function: Callable[..., Any],
    *arguments: Any,
    processes: int = 2,
    wait_for: int | None = None,
) -> list[tuple[int, Any]]:
    """Exit status and result of each process, None for no result.

    Only the first ``wait_for`` have to end, the others are killed then.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = []
    for rank in range(processes):
        ours, theirs = _CONTEXT.Pipe(duplex=False)
        settings = {
            "RANK": str(rank),
            "WORLD_SIZE": str(processes),
            "LOCAL_RANK": str(rank),
            "LOCAL_WORLD_SIZE": str(processes),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        process = _CONTEXT.Process(
            target=_work, args=(settings, theirs, function, arguments), daemon=True
        )
        process.start()
        theirs.close()
        running.append((process, ours))
    if wait_for is not None:
        running, others = running[:wait_for], running[wait_for:]
    # All results first: a process with a large one stands still until it is read.
    results = [_receive(pipe) for _, pipe in running]
    ended = []
    for (process, _), result in zip(running, results, strict=True):
        process.join(PATIENCE)
        if process.exitcode is None:
            process.kill()
            raise AssertionError(f"{process.name} hangs")
        ended.append((process.exitcode, result))
    for process, _ in others if wait_for is not None else []:
        process.kill()
    return ended


def _receive(pipe: Any) -> Any:
    try:
        return pipe.recv() if pipe.poll(PATIENCE) else None
    except EOFError:
        return None


def _work(
    settings: dict[str, str], pipe: Any, function: Callable[..., Any], arguments: Any
) -> None:
    os.environ.update(settings)
    torch.set_num_threads(1)
    with clear_errors():
        place = find_rank(os.environ)
        assert place is not None
        collectives.start(place, torch.device("cpu"))
        pipe.send(function(*arguments))
