"""Tables and plots of the results of benchmarks/step.py."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from faster_rcnn.utils.monitoring.stage_clock import STAGES
from reporting import markdown, milliseconds, three

from .intervals import ratio_interval

_MIB = 1 << 20
_PHASES = {"train": "training step", "infer": "inference"}

Result = dict[str, Any]
"""Of one model, phase, size and batch; `step.measure` says what it holds."""


def title(result: Result) -> str:
    """Describe the work in a few words."""
    height, width = result["size"]
    train, test = result["rois"]
    rois = train if result["phase"] == "train" else test
    regions = "" if result["model"].startswith("retina_") else f", {rois} RoIs"
    return (
        f"{result['model']}, {_PHASES[result['phase']]}, "
        f"{result['batch']} x {height}x{width}{regions}"
    )


def times_table(results: Sequence[Result]) -> str:
    """Format a row per implementation: time, ratio, memory, FLOPs, share of peak."""
    header = (
        "what",
        "way",
        "ms",
        "images/s",
        "the first is faster",
        "peak MiB",
        "GFLOP",
        "share of the peak",
        "waits",
    )
    rows = []
    for result in results:
        for name, way in result["ways"].items():
            rows.append(
                (title(result), name, way["error"], *("",) * 6)
                if "error" in way
                else (title(result), name, *_cells(result, name, way))
            )
    return markdown(header, rows)


def _cells(result: Result, name: str, way: Mapping[str, Any]) -> Iterator[str]:
    median = statistics.median(way["seconds"])
    yield milliseconds(median)
    yield three(result["batch"] / median)
    first = next(iter(result["ways"]))
    ours = result["ways"][first]
    if name == first or "error" in ours:
        yield ""
    else:
        found = ratio_interval(way["seconds"], ours["seconds"])
        yield f"{found.ratio:.2f} ({found.low:.2f} to {found.high:.2f})"
    yield f"{way['peak_memory'] / _MIB:.0f}"
    yield three(way["flops"] / 1e9)
    share, plain = way["share"], way["plain_share"]
    yield "" if share is None else f"{100 * share:.0f} % ({100 * plain:.0f} %)"
    yield "" if way["waits"] is None else str(way["waits"])


def stages_table(result: Result) -> str:
    """Format milliseconds by stage, a column for each implementation."""
    ways = {name: way for name, way in result["ways"].items() if "error" not in way}
    found = {stage for way in ways.values() for stage in way["stages"]}
    known = [stage for stage in STAGES if stage in found]
    last = ["the rest"] if "the rest" in found else []
    order = [*known, *sorted(found - set(known) - set(last)), *last]
    rows = [
        (stage, *(_stage_cell(way["stages"].get(stage)) for way in ways.values()))
        for stage in order
    ]
    return markdown((f"{title(result)}: ms", *ways), rows)


def _stage_cell(seconds: float | None) -> str:
    return "" if seconds is None else f"{1000 * seconds:.1f}"


def report(document: Mapping[str, Any]) -> str:
    """Format all tables, with the machine and its measured peaks."""
    peaks = ", ".join(
        f"{name} {three(rate / 1e9)} GFLOP/s"
        for name, rate in document["peaks"].items()
    )
    results = document["results"]
    parts = [f"{document['machine']}; measured peak: {peaks}", times_table(results)]
    for result in results:
        parts += [stages_table(result)]
    return "\n\n".join(parts)


def draw(document: Mapping[str, Any], path: Path) -> None:
    """Draw bars of images/s for each model and phase, with quartiles of the rounds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    results = document["results"]
    columns = min(4, len(results))
    rows = math.ceil(len(results) / columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(4 * columns, 3 * rows), squeeze=False
    )
    for axis in axes.flat[len(results) :]:
        axis.axis("off")
    for axis, result in zip(axes.flat, results, strict=False):
        ways = {name: way for name, way in result["ways"].items() if "error" not in way}
        for place, way in enumerate(ways.values()):
            rates = [result["batch"] / seconds for seconds in way["seconds"]]
            middle = statistics.median(rates)
            low, high = np.percentile(rates, (25, 75))
            axis.barh(
                place, middle, xerr=[[middle - low], [high - middle]], color=f"C{place}"
            )
        axis.set_yticks(range(len(ways)), list(ways))
        axis.invert_yaxis()
        axis.set_xlabel("images/s")
        axis.set_title(title(result), fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
