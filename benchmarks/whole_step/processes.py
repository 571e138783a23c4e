"""Training steps in several processes: measured for a few, modelled for more.

Two processes are measured, on this CPU or its GPUs; 8 to 512 are modelled from the
measured step and the size of its gradient.
"""

import multiprocessing
import os
import queue
import socket
import time
from collections.abc import Sequence
from multiprocessing.queues import Queue
from typing import Any, NamedTuple

import torch
from faster_rcnn.utils.device import keep_freed_memory
from faster_rcnn.utils.distributed import collectives
from faster_rcnn.utils.distributed.rank import ProcessRank

from . import probe
from .models import Work
from .ways import build_step

WARM_UP = 2


class Links(NamedTuple):
    """Assumed, not measured, links between GPUs.

    Attributes:
        machine: GPUs per machine.
        inside: bytes per second and GPU within a machine (NVLink).
        between: bytes per second and GPU between machines (400 Gbit/s each).
        latency: seconds per message between machines.
    """

    machine: int = 8
    inside: float = 300e9
    between: float = 40e9
    latency: float = 15e-6


def measure_processes(
    work: Work, counts: Sequence[int], *, threads: int, repeats: int, device: str
) -> list[dict[str, Any]]:
    """Time a training step in several processes, each with the work's batch.

    Args:
        work: work of each process.
        counts: numbers of processes.
        threads: threads per process.
        repeats: number of timed steps.
        device: device; each process uses a different GPU, if there are several.

    Returns:
        For each number ``work``, ``seconds`` of the steps, those of an ``all_reduce``
        of the gradient alone, its ``bytes``, and ``backward``, seconds of that stage.
    """
    return [_measure(work, count, threads, repeats, device) for count in counts]


def _measure(
    work: Work, count: int, threads: int, repeats: int, device: str
) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    answers: Queue[dict[str, Any]] = context.Queue()
    children = [
        context.Process(
            target=_run,
            args=(work, rank, count, port, threads, repeats, device, answers),
        )
        for rank in range(count)
    ]
    for child in children:
        child.start()
    try:
        while True:
            try:
                return {"work": count, **answers.get(timeout=1)}
            except queue.Empty:
                if any(child.exitcode for child in children):
                    raise RuntimeError("a process ended; see its message") from None
    finally:
        for child in children:
            child.join(10)
            if child.is_alive():
                child.terminate()


def _run(
    work: Work,
    rank: int,
    count: int,
    port: int,
    threads: int,
    repeats: int,
    device_name: str,
    answers: "Queue[dict[str, Any]]",
) -> None:
    """Run one process; the first one reports the results."""
    torch.set_num_threads(max(threads, 1))
    keep_freed_memory()
    device = torch.device(device_name)
    if count > 1:
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        if device.type == "cuda":
            device = torch.device("cuda", rank)
        collectives.start(ProcessRank(rank, count, rank, count), device)
    try:
        step = build_step("ours", work, device)
        for _ in range(WARM_UP):
            step()
        seconds = [probe.seconds_of(step, device) for _ in range(repeats)]
        stages = probe.stages_of(step, device)
        gradient = [p.grad for p in step.model.parameters() if p.grad is not None]
        size = sum(grad.numel() for grad in gradient)
        found = {
            "seconds": seconds,
            "backward": stages["backward"],
            "bytes": 4 * size,
            "all_reduce": _all_reduce(size, repeats, device) if count > 1 else [],
        }
        if rank == 0:
            answers.put(found)
    finally:
        collectives.finish()


def _all_reduce(size: int, repeats: int, device: torch.device) -> list[float]:
    """Time the sum of that many numbers over all processes."""
    numbers = torch.ones(size, device=device)
    seconds = []
    for _ in range(repeats + 1):
        collectives.barrier()
        started = time.perf_counter()
        torch.distributed.all_reduce(numbers)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    return seconds[1:]


def model_processes(
    step: float,
    backward: float,
    size: int,
    counts: Sequence[int] = (1, 8, 16, 32, 64, 128, 256, 512),
    links: Links | None = None,
) -> list[dict[str, float]]:
    """Model the bounds of a step's time in more processes than were measured.

    Gradients are summed in rings within each machine, then between machines: of
    ``size`` bytes each GPU sends 2 (p - 1) / p times as many. In the best case all of
    it overlaps with the backward pass, in the worst case none.

    Args:
        step: seconds of a step in one process.
        backward: seconds of its backward pass.
        size: bytes of the gradient.
        counts: numbers of processes.
        links: links between GPUs.

    Returns:
        For each count ``work``, ``best`` and ``worst`` seconds and efficiencies.
    """
    links = links or Links()
    points = []
    for count in counts:
        inside = min(count, links.machine)
        machines = -(-count // links.machine)
        reduce = 2 * (inside - 1) / inside * size / links.inside
        # Each GPU of a machine sends its part of the sums to the other machines.
        reduce += 2 * (machines - 1) / machines * size / inside / links.between
        reduce += 2 * (machines - 1) * links.latency
        best, worst = step + max(0.0, reduce - backward), step + reduce
        points.append(
            {
                "work": count,
                "best": best,
                "worst": worst,
                "best_efficiency": step / best,
                "worst_efficiency": step / worst,
            }
        )
    return points
