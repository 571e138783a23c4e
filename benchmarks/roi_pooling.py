#!/usr/bin/env python3
"""Compare three implementations of RoI max pooling, as an older study did.

The study (github.com/blackyang/compare_roi_pooling_speed, extended in
github.com/SirLPS/roi_pooling, 2018) pooled RoIs of whole cells from maps (batch, 512,
size, size), with batch = size, by a C extension, by kernels that CuPy compiles at run
time, by Chainer, and by PyTorch's adaptive max pooling in a loop. Here: ours,
torchvision's, and the loop.

    python benchmarks/roi_pooling.py --threads 2 --json roi_pooling.json --docs

Results are compared before they are timed, and the implementations are called in turn.
``--docs`` writes tables and plot between the marks of docs/roi_pooling.md; with
``--from-json``, those of an earlier run.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reporting import DOCS, Benchmark, machine, markdown, milliseconds
from roi_pooling_ways import LOOP, WAYS, Setting, bind, check, draw_inputs
from timing import time_rounds

CHANNELS = 512
MAP_BYTES = 1 << 29
"""64 x 512 x 64 x 64 float32. Where more is asked for, channels or images are fewer."""

SAMPLE = 10
"""RoIs of the loop where all would take too long."""

Result = dict[str, Any]


def settings(map_bytes: int = MAP_BYTES) -> Iterator[Setting]:
    """Return the study's settings, with its 512 channels reduced for large maps.

    The last settings have all channels, and fewer images instead.
    """
    yield Setting(1, CHANNELS, 50, 300)
    for size in (8, 64, 256):
        channels = max(1, min(CHANNELS, map_bytes // (4 * size**3)))
        for rois in (10, 100, 1000):
            yield Setting(size, channels, size, rois)
    batch = map_bytes // (4 * CHANNELS * 256**2)
    for rois in (10, 100, 1000):
        if batch:
            yield Setting(batch, CHANNELS, 256, rois)


def compare(
    setting: Setting, device: torch.device, *, repeats: int, patience: float
) -> Iterator[Result]:
    """Check one setting, then time it forward, and forward and backward.

    The loop is checked and timed with a few RoIs, and extrapolated, if all RoIs would
    take longer than ``patience`` seconds.
    """
    inputs = draw_inputs(setting, device)
    names = list(WAYS)
    others = [name for name in names if name != LOOP]
    few = inputs.first(SAMPLE)
    check(few, names)
    check(inputs, others)
    for backward in (False, True):
        calls = {name: bind(name, inputs, backward=backward) for name in others}
        seconds = time_rounds(calls, repeats=repeats, device=device, limit=4)
        # Rounds of its own for the loop, which would leave the others too few.
        part = inputs
        if setting.rois > SAMPLE:
            probe = {LOOP: bind(LOOP, few, backward=backward)}
            (once,) = time_rounds(probe, repeats=1, device=device)[LOOP]
            if once * setting.rois / SAMPLE > patience:
                part = few
        loop = {LOOP: bind(LOOP, part, backward=backward)}
        seconds |= time_rounds(loop, repeats=min(repeats, 3), device=device, limit=4)
        medians = {name: float(np.median(values)) for name, values in seconds.items()}
        medians[LOOP] *= len(inputs.rois) / len(part.rois)
        shown = ", ".join(f"{n} {milliseconds(s)} ms" for n, s in medians.items())
        passes = "forward and backward" if backward else "forward"
        print(f"{setting}, {passes}: {shown}", flush=True)
        yield {
            "setting": setting,
            "backward": backward,
            "seconds": medians,
            "loop_sample": SAMPLE if part is few else None,
        }


def table(results: list[Result], *, backward: bool) -> str:
    """Format milliseconds of each implementation; estimates are marked."""
    results = [r for r in results if r["backward"] == backward]
    names = [name for name in WAYS if name in results[0]["seconds"]]
    rows = []
    for result in results:
        seconds = result["seconds"]
        cells = [milliseconds(seconds[name]) for name in names]
        if result["loop_sample"]:
            cells[-1] = f"~{cells[-1]}"
        times = (seconds[name] / seconds["ours"] for name in names[1:])
        cells += [f"{value:.3g}" for value in times]
        rows.append([str(Setting(*result["setting"])), *cells])
    header = ["forward and backward" if backward else "forward"]
    header += [f"{name}, ms" for name in names] + [f"{n} / ours" for n in names[1:]]
    return markdown(header, rows)


def text(figures: Result) -> str:
    """Format the figures of one device for the document."""
    tables = [table(figures["results"], backward=b) for b in (False, True)]
    return "\n\n".join([f"{figures['machine']}.", *tables])


def draw(figures: dict[str, Result], path: Path) -> None:
    """Plot the times of all settings, a row for each device."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shape, size = (len(figures), 2), (12, 4.6 * len(figures))
    figure, axes = pyplot.subplots(*shape, figsize=size, squeeze=False, sharey="row")
    for row, (device, found) in zip(axes, figures.items(), strict=True):
        for axis, backward in zip(row, (False, True), strict=True):
            results = [r for r in found["results"] if r["backward"] == backward]
            labels = [
                str(Setting(*r["setting"])).replace("), ", ")\n") for r in results
            ]
            for name, marker in zip(WAYS, "osx", strict=True):
                if name in results[0]["seconds"]:
                    ms = [1000 * r["seconds"][name] for r in results]
                    axis.semilogy(labels, ms, marker, label=name)
            axis.set_title(
                f"{device}: {'forward and backward' if backward else 'forward'}"
            )
            axis.tick_params(axis="x", labelsize=7, rotation=60)
            axis.grid(True, alpha=0.3)
        row[0].set_ylabel("ms")
        row[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def measure(device: torch.device, repeats: int) -> Result:
    """Measure all figures of one device."""
    results: list[Result] = []
    for setting in settings():
        results += compare(setting, device, repeats=repeats, patience=4.0)
    return {"machine": machine(device), "results": results}


ROI_POOLING = Benchmark(
    document=DOCS / "roi_pooling.md",
    picture=DOCS / "roi_pooling.png",
    measure=measure,
    text=text,
    draw=draw,
)

if __name__ == "__main__":
    ROI_POOLING.main(__doc__, repeats=21)
