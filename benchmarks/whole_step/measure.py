"""One piece of work, measured in all ways."""

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
    processes: bool,
    until: float,
    limit: float,
    repeats: int | None,
    peaks: dict[str, float],
    operators: bool = False,
    before: str = "",
) -> Result:
    """Time the ways on one piece of work.

    Args:
        work: what is computed.
        ways: names, the one that the others are compared with first.
        device: where.
        threads: of PyTorch, 0 for its own choice.
        keep_memory: whose C library keeps freed memory: ``ours``, ``all`` or ``none``.
        processes: a process for each way.
        until: as in `time_until`, as are ``limit`` and ``repeats``.
        limit: seconds.
        repeats: rounds; None for as many as it takes.
        peaks: FLOPs per second by type.
        operators: whether the most expensive ones are found, too.
        before: checkout of the way of that name.

    Returns:
        The work, and for each of ``ways`` its ``seconds``, what `LocalWorker.details`
        gives, and its ``share`` of the peak by its own FLOPs and, as ``plain_share``,
        by the most that a way takes; or ``error``.
    """
    config = work.config()
    workers: dict[str, Worker] = {}
    found: dict[str, dict[str, Any]] = {}
    try:
        for way in ways:
            keeps = keep_memory == "all" or (
                keep_memory == "ours" and way.startswith(("ours", "before"))
            )
            code = before if way == "before" else ""
            setup = Setup(way, work, device, threads, keeps, code)
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
                details = worker.details(operators=operators)
                found[way] = {"seconds": times[way], **details}
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
        "ways": {way: found[way] for way in ways},
    }


def _add_shares(found: dict[str, dict[str, Any]], peaks: dict[str, float]) -> None:
    """How much of the machine's peak each way uses, by its own FLOPs and by the most.

    A way that saves FLOPs would seem worse by its own alone.
    """
    ways = [way for way in found.values() if "error" not in way]
    plain = max(way["flops"] for way in ways)
    for way in ways:
        peak = peaks.get(way["dtype"])
        seconds = statistics.median(way["seconds"])
        for name, flops in (("share", way["flops"]), ("plain_share", plain)):
            way[name] = flops / seconds / peak if peak else None
