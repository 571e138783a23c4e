#!/usr/bin/env python3
"""Compare the time of suppression, RoI pooling and matching with torchvision's.

Each round calls every function, ours first, so that other work on the machine affects
all of them. A fast function is called repeatedly for 20 ms. The output is the ratio of
the medians, with the quartiles of the rounds' ratios. Results are compared before they
are timed: indices must be equal, values to 1e-5 of the largest (bfloat16: 2^-8).
torchvision gets contiguous float32, its fastest input; ours also gets channels_last,
which the network produces.

    python benchmarks/kernels.py --threads 2 --json kernels.json --docs

On a GPU, times are measured by events. ``--docs`` writes tables and plot between the
marks of docs/kernels.md; with ``--from-json``, those of an earlier run.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from kernel_cases import cases
from kernel_growth import draw_growth, measure_growth, slope
from kernel_inputs import Sizes
from reporting import DOCS, Benchmark, machine, markdown, milliseconds, three
from timing import Case, copy_bandwidth, ratio, time_rounds

Result = dict[str, Any]


def compare(case: Case, device: torch.device, *, repeats: int) -> list[Result]:
    """Check one case, then time it; return a result for each of our variants."""
    case.check()
    rival = "rival"
    seconds = time_rounds(
        {**case.ours, rival: case.theirs}, repeats=repeats, device=device
    )
    results = []
    for k, variant in enumerate(case.ours):
        result = {
            "case": case.name,
            "variant": variant,
            "rival": case.rival,
            "wanted": case.wanted if k == 0 else None,
            "least_bytes": case.least_bytes[variant],
            "rounds": len(seconds[variant]),
            "ours": float(np.median(seconds[variant])),
            "theirs": float(np.median(seconds[rival])),
            "ratio": ratio(seconds[rival], seconds[variant]),
        }
        print(line(result), flush=True)
        results.append(result)
    return results


def line(result: Result) -> str:
    """Format a result for the terminal."""
    times, low, high = result["ratio"]
    wanted = "" if result["wanted"] is None else f", wanted {result['wanted']:g}"
    return (
        f"{result['case']} [{result['variant']}]: {milliseconds(result['ours'])} ms, "
        f"{result['rival']} {milliseconds(result['theirs'])} ms: {times:.3g} times "
        f"({low:.3g} to {high:.3g}){wanted}"
    )


def measure(device: torch.device, sizes: Sizes, *, repeats: int) -> Result:
    """Measure all figures of one device."""
    return {
        "machine": machine(device),
        "bandwidth": copy_bandwidth(device) if device.type == "cuda" else None,
        "cases": [
            result
            for case in cases(device, sizes)
            for result in compare(case, device, repeats=repeats)
        ],
        "growth": measure_growth(device, sizes, repeats=repeats),
    }


def table(figures: Result) -> str:
    """Format the figures of one device as a table, followed by the slopes."""
    header = ["", "ours as", "ours, ms", "theirs, ms", "times as fast", "wanted"]
    if figures["bandwidth"]:
        header.append("share of the bandwidth")
    rows, last = [], None
    for result in figures["cases"]:
        name = result["case"]
        if result["rival"] != "torchvision":
            name += f"; theirs: {result['rival']}"
        times, low, high = result["ratio"]
        wanted = result["wanted"]
        row = [
            "" if name == last else name,
            result["variant"],
            milliseconds(result["ours"]),
            milliseconds(result["theirs"]),
            f"{three(times)} ({three(low)} to {three(high)})",
            ""
            if wanted is None
            else f"{wanted:g}{'' if times >= wanted else ', missed'}",
        ]
        if figures["bandwidth"]:
            least = result["least_bytes"] / figures["bandwidth"]
            row.append(f"{least / result['ours']:.0%}")
        rows.append(row)
        last = name
    parts = [f"{figures['machine']}.", markdown(header, rows), slopes(figures)]
    if figures["bandwidth"]:
        rate = figures["bandwidth"] / 1e9
        parts.insert(1, f"A copy reads and writes {rate:.0f} GB/s together.")
    return "\n\n".join(parts)


def slopes(figures: Result) -> str:
    """Format the exponents of the growth as a table."""
    rows = [
        [law, *(f"{slope(points, who):.2f}" for who in ("ours", "theirs"))]
        for law, points in figures["growth"].items()
    ]
    return markdown(["time grows as the power", "ours", "torchvision"], rows)


def draw(figures: dict[str, Result], path: Path) -> None:
    """Draw the growth on each device."""
    draw_growth({device: found["growth"] for device, found in figures.items()}, path)


KERNELS = Benchmark(
    document=DOCS / "kernels.md",
    picture=DOCS / "kernels_growth.png",
    measure=lambda device, repeats: measure(device, Sizes(), repeats=repeats),
    text=table,
    draw=draw,
)

if __name__ == "__main__":
    KERNELS.main(__doc__, repeats=41)
