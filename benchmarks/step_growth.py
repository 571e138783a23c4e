#!/usr/bin/env python3
"""Measure how time and memory of our step grow with the work.

Each law changes one quantity of a base case: image size, batch, RoIs, classes, objects
per image, processes. The points of a law run in separate processes and take turns:

    python benchmarks/step_growth.py --model res50_fpn --threads 2 --json growth.json \\
        --plot docs/performance_growth.png --markdown
"""

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from faster_rcnn.cli.arguments.shared import net_argument
from faster_rcnn.cli.parser import Parser
from faster_rcnn.cli.user_errors import clear_errors
from reporting import machine, markdown, milliseconds
from step import add_run_arguments, publish, save
from whole_step.intervals import time_until
from whole_step.measure import WARM_UP
from whole_step.models import Work
from whole_step.processes import measure_processes, model_processes
from whole_step.workers import Setup, Worker, start

Points = list[dict[str, Any]]

LAWS = ("pixels", "images", "RoIs per image", "classes", "objects per image")
PROCESSES = "processes"
CLASSES = (20, 80, 365, 1203)
_MIB = 1 << 20
_PHASES = {"train": "training step", "infer": "inference"}


def works_of(law: str, base: Work) -> list[tuple[float, Work]]:
    """Return the amounts of a law, and the work at each amount.

    Raises:
        ValueError: the law is unknown.
    """
    if law == "pixels":
        sizes = [
            [max(32, round(side * scale / 32) * 32) for side in base.size]
            for scale in (0.5, 0.71, 1, 1.41)
        ]
        return [(h * w, replace(base, size=(h, w))) for h, w in sizes]
    if law == "images":
        return [(n, replace(base, batch=n)) for n in (1, 2, 4, 8)]
    if law == "RoIs per image":
        counts = (64, 128, 256, 512, 1000)
        return [(n, replace(base, rois=(n, n))) for n in counts]
    if law == "classes":
        return [(n, replace(base, classes=n)) for n in CLASSES]
    if law == "objects per image":
        return [(n, replace(base, objects=n)) for n in (1, 8, 64, 256)]
    raise ValueError(f"law: expected one of {', '.join(LAWS)}; found {law!r}")


def measure_law(
    works: Sequence[tuple[float, Work]],
    *,
    device: str,
    threads: int,
    repeats: int | None,
    limit: float,
    processes: bool = True,
) -> Points:
    """Measure time and memory at each amount of work.

    Args:
        works: amounts, and their work.
        device: device of the computation.
        threads: PyTorch's threads.
        repeats: rounds; if None, until the median is known within 5 %.
        limit: maximum seconds of rounds.
        processes: run each point in its own process; otherwise a CPU's memory is that
            of all points.

    Returns:
        For each amount ``work``, ``seconds`` of the rounds and `LocalWorker.details`.
    """
    workers: dict[str, Worker] = {}
    try:
        for amount, work in works:
            setup = Setup("ours", work, device, threads, keep_memory=True)
            workers[str(amount)] = start(setup, processes=processes)
            workers[str(amount)].warm_up(WARM_UP)
        calls = {name: worker.seconds for name, worker in workers.items()}
        seconds = time_until(calls, until=0.05, limit=limit, repeats=repeats)
        return [
            {
                "work": amount,
                "seconds": seconds[str(amount)],
                **workers[str(amount)].details(),
            }
            for amount, _ in works
        ]
    finally:
        for worker in workers.values():
            worker.close()


def exponent(points: Points) -> float:
    """Compute the exponent of time over work, between the two largest amounts."""
    work = [point["work"] for point in points[-2:]]
    seconds = [statistics.median(point["seconds"]) for point in points[-2:]]
    return float(np.diff(np.log(seconds))[0] / np.diff(np.log(work))[0])


def class_ratio(points: Points) -> float:
    """Return how many times as long 1203 classes take as 80."""
    medians = {p["work"]: statistics.median(p["seconds"]) for p in points}
    return float(medians[1203] / medians[80])


def growth_table(laws: dict[str, dict[str, Points]]) -> str:
    """Format a row for each point."""
    rows = [
        (
            f"{law}, {_PHASES[phase]}",
            f"{point['work']:,.0f}",
            milliseconds(statistics.median(point["seconds"])),
            f"{statistics.median(point['seconds']) / _median(points[0]):.2f}",
            f"{point['peak_memory'] / _MIB:.0f}" if "peak_memory" in point else "",
        )
        for law, phases in laws.items()
        for phase, points in phases.items()
        for point in points
    ]
    return markdown(("law", "amount", "ms", "times the first", "peak MiB"), rows)


def processes_table(modelled: list[dict[str, float]]) -> str:
    """Format the modelled training step in more processes."""
    rows = [
        (
            f"{point['work']:.0f}",
            f"{milliseconds(point['best'])} to {milliseconds(point['worst'])}",
            f"{100 * point['worst_efficiency']:.0f} to "
            f"{100 * point['best_efficiency']:.0f} %",
        )
        for point in modelled
    ]
    return markdown(("processes (modelled)", "ms", "efficiency"), rows)


def _median(point: dict[str, Any]) -> float:
    return float(statistics.median(point["seconds"]))


def draw(document: dict[str, Any], path: Path) -> None:
    """Draw log-log plots: time above, memory below, a column for each law."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    laws = document["laws"]
    figure, axes = pyplot.subplots(
        2, len(laws), figsize=(3.6 * len(laws), 6.4), squeeze=False
    )
    for (above, below), (law, phases) in zip(axes.T, laws.items(), strict=True):
        for phase, points in phases.items():
            x = [point["work"] for point in points]
            ms = [1000 * _median(point) for point in points]
            label = f"{_PHASES[phase]}, slope {exponent(points):.2f}"
            above.loglog(x, ms, "o-", label=label, markersize=4)
            memory = [point.get("peak_memory", 0) / _MIB for point in points]
            below.semilogx(x, memory, "o-", label=_PHASES[phase], markersize=4)
        above.set_title(law, fontsize=10)
        above.legend(fontsize=7)
        below.set_ylim(bottom=0)
        below.set_xlabel(law)
        above.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        above.yaxis.set_major_formatter("{x:g}")
        for axis in (above, below):
            axis.grid(True, which="major", alpha=0.3)
            axis.xaxis.set_minor_formatter("")
            axis.yaxis.set_minor_formatter("")
    axes[0][0].set_ylabel("ms")
    axes[1][0].set_ylabel("peak MiB")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def report(document: dict[str, Any]) -> str:
    """Format all tables."""
    parts = [f"{document['model']}; {document['machine']}"]
    parts.append(growth_table(document["laws"]))
    for phase, points in document["laws"].get("classes", {}).items():
        parts.append(
            f"1203 classes take {class_ratio(points):.2f} times as long as 80 "
            f"({_PHASES[phase]})."
        )
    if document.get("modelled"):
        parts.append(processes_table(document["modelled"]))
    return "\n\n".join(parts)


def build_parser() -> argparse.ArgumentParser:
    """Build the argument parser."""
    parser = Parser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", type=net_argument, default="res50_fpn", metavar="NET")
    add("--size", default="600x800", metavar="HxW", help="size of the base case")
    add("--laws", nargs="+", choices=(*LAWS, PROCESSES), default=[*LAWS, PROCESSES])
    add("--phases", nargs="+", choices=tuple(_PHASES), default=list(_PHASES))
    add(
        "--processes",
        type=int,
        nargs="+",
        default=[1, 2],
        help="numbers of processes to measure",
    )
    add_run_arguments(parser)
    parser.set_defaults(limit=120, mark="growth")
    return parser


def main() -> None:
    """Measure, print, and write the requested files."""
    arguments = build_parser().parse_args()
    height, _, width = arguments.size.partition("x")
    base = Work(
        arguments.model,
        size=(int(height), int(width)),
        settings=tuple(arguments.settings),
    )
    device, threads = arguments.device, arguments.threads
    if threads:
        torch.set_num_threads(threads)
    laws: dict[str, dict[str, Points]] = {}
    document: dict[str, Any] = {
        "machine": machine(torch.device(device)),
        "model": arguments.model,
        "size": list(base.size),
        "laws": laws,
    }
    with clear_errors():
        for law in arguments.laws:
            laws[law] = {}
            if law == PROCESSES:
                points = measure_processes(
                    base,
                    arguments.processes,
                    threads=threads,
                    repeats=arguments.repeats or 10,
                    device=device,
                )
                laws[law]["train"] = points
                alone = points[0]
                document["modelled"] = model_processes(
                    _median(alone), alone["backward"], alone["bytes"]
                )
            else:
                for phase in arguments.phases:
                    laws[law][phase] = measure_law(
                        works_of(law, replace(base, phase=phase)),
                        device=device,
                        threads=threads,
                        repeats=arguments.repeats,
                        limit=arguments.limit,
                    )
            print(growth_table({law: laws[law]}), flush=True)
            save(document, arguments)
        publish(document, arguments, report(document), draw)


if __name__ == "__main__":
    main()
