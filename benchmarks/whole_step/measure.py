"""Measure one piece of work by all implementations."""

import statistics
from collections.abc import Sequence
from typing import Any

from .intervals import time_until
from .models import Work
from .report import Result
from .workers import Setup, WayError, Worker, start

WARM_UP = 2


def measure(
    work: Work,
    ways: Sequence[str],
    *,
    device: str,
    threads: int,
    keep_memory: str,
    until: float,
    limit: float,
    repeats: int | None,
    peaks: dict[str, float],
    processes: bool = True,
    cpu_time: bool = False,
) -> Result:
    """Time implementations on one piece of work.

    Args:
        work: the work.
        ways: names of implementations; the others are compared with the first.
        device: device of the computation.
        threads: PyTorch's threads, 0 for its own choice.
        keep_memory: implementations whose C library keeps freed memory: ``ours``,
            ``all`` or ``none``.
        until: see `time_until`.
        limit: see `time_until`.
        repeats: see `time_until`.
        peaks: FLOPs per second by type.
        processes: run each implementation in its own process.
        cpu_time: measure CPU time instead of wall-clock time.

    Returns:
        The work, and for each of ``ways`` its ``seconds``, the result of
        `LocalWorker.details`, and its ``share`` of the peak by its own FLOPs and, as
        ``plain_share``, by the largest FLOPs of all; or ``error``.
    """
    config = work.config()
    workers: dict[str, Worker] = {}
    found: dict[str, dict[str, Any]] = {}
    try:
        for way in ways:
            ours = keep_memory == "ours" and way.startswith("ours")
            keeps = ours or keep_memory == "all"
            setup = Setup(way, work, device, threads, keeps, cpu_time)
            try:
                worker = start(setup, processes=processes)
                workers[way] = worker
                worker.warm_up(WARM_UP)
            except WayError as error:
                found[way] = {"error": str(error)}
                if way in workers:
                    workers.pop(way).close()
        if workers:
            calls = {way: worker.seconds for way, worker in workers.items()}
            times = time_until(calls, until=until, limit=limit, repeats=repeats)
            for way, worker in workers.items():
                found[way] = {"seconds": times[way], **worker.details()}
            _add_shares(found, peaks)
    finally:
        for worker in workers.values():
            worker.close()
    return {
        "model": work.model,
        "phase": work.phase,
        "size": list(work.size),
        "batch": work.batch,
        "rois": [config.head.rois_per_image, config.rpn.test_post_nms],
        "classes": work.classes,
        "objects": work.objects,
        "settings": list(work.settings),
        "keep_memory": keep_memory,
        "processes": processes,
        "cpu_time": cpu_time,
        "ways": {way: found[way] for way in ways},
    }


def _add_shares(found: dict[str, dict[str, Any]], peaks: dict[str, float]) -> None:
    """Add each one's share of the machine's peak, by its own and by the largest FLOPs.

    An implementation that saves FLOPs would seem worse by its own FLOPs.
    """
    ways = [way for way in found.values() if "error" not in way]
    plain = max(way["flops"] for way in ways)
    for way in ways:
        peak = peaks.get(way["dtype"])
        seconds = statistics.median(way["seconds"])
        for name, flops in (("share", way["flops"]), ("plain_share", plain)):
            way[name] = flops / seconds / peak if peak else None
