"""Measure how the time of suppression, pooling and matching grows with the work."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from kernel_cases import matching_case, nms_case
from kernel_inputs import Sizes, image_size, rpn_boxes, scene
from kernel_pools import Pools
from timing import Case, time_rounds

Growth = dict[str, list[dict[str, float]]]
"""By law: points of ``work``, and seconds of ``ours`` and ``theirs``."""


def measure_growth(device: torch.device, sizes: Sizes, *, repeats: int) -> Growth:
    """Measure medians of ours and theirs at growing sizes.

    Args:
        device: device of the computation.
        sizes: the largest sizes, which each law reduces.
        repeats: rounds per point, or fewer if they take more than a second.
    """
    growth: Growth = {}
    for law, work, case in _points(device, sizes):
        variant = next(iter(case.ours))
        calls = {"ours": case.ours[variant], "theirs": case.theirs}
        seconds = time_rounds(calls, repeats=repeats, device=device, limit=1)
        point = {name: float(np.median(values)) for name, values in seconds.items()}
        growth.setdefault(law, []).append({"work": work, **point})
    return growth


def _points(device: torch.device, sizes: Sizes) -> Iterator[tuple[str, float, Case]]:
    generator = torch.Generator().manual_seed(0)
    height, width = sizes.height, sizes.width
    anchors, gt_boxes = scene(height, width, sizes.objects, generator)
    boxes, scores = rpn_boxes(anchors, gt_boxes, image_size(height, width), generator)
    for count in _halved(sizes.train_nms[0], 6):
        best, best_scores = boxes[:count].to(device), scores[:count].to(device)
        kept = len(torchvision.ops.nms(best, best_scores, 0.7))
        yield (
            "suppression: boxes x kept",
            count * kept,
            nms_case("", best, best_scores, kept, None),
        )
    rois = boxes.to(device)
    features = torch.randn(1, sizes.channels, height, width, generator=generator)
    pools = Pools(features.to(device), rois, generator)
    for count in _halved(4 * sizes.train_rois, 6):
        case = pools.align(count, 7, 2, True, None)
        yield "RoIAlign, forward and backward: RoIs", count, case
    for channels in _halved(sizes.channels, 6):
        pools = Pools(features[:, :channels].contiguous().to(device), rois, generator)
        case = pools.align(sizes.train_rois, 7, 2, True, None)
        yield "RoIAlign, forward and backward: channels", channels, case
    for count in _halved(len(anchors), 4):
        for objects in _halved(4 * sizes.objects, 3):
            _, gt_boxes = scene(height, width, objects, generator)
            case = matching_case(anchors[:count].to(device), gt_boxes.to(device), None)
            yield "matching: anchors x objects", count * objects, case


def _halved(largest: int, count: int) -> list[int]:
    """Return ``count`` sizes, smallest first, each half of the next."""
    return sorted({max(largest >> k, 1) for k in range(count)})


def slope(points: list[dict[str, float]], who: str) -> float:
    """Fit the exponent of the growth to the larger half of the sizes.

    The smaller half shows the fixed cost of a call.
    """
    ordered = sorted(points, key=lambda point: point["work"])[len(points) // 2 :]
    work, seconds = (np.log([p[key] for p in ordered]) for key in ("work", who))
    return float(np.polyfit(work, seconds, 1)[0])


def draw_growth(growth: dict[str, Growth], path: Path) -> None:
    """Draw log-log plots, a column for each law and a row for each device."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows, columns = len(growth), max(map(len, growth.values()))
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(4 * columns, 3.6 * rows), squeeze=False
    )
    for row, (device, laws) in zip(axes, growth.items(), strict=True):
        for axis, (law, points) in zip(row, laws.items(), strict=False):
            _draw_law(axis, law, points)
        row[0].set_ylabel(f"{device}: ms")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _draw_law(axis: Any, law: str, points: list[dict[str, float]]) -> None:
    what, _, work = law.partition(": ")
    points = sorted(points, key=lambda point: point["work"])
    x = [point["work"] for point in points]
    for who, label, marker in (("theirs", "torchvision", "s"), ("ours", "ours", "o")):
        ms = [1000 * point[who] for point in points]
        exponent = slope(points, who)
        axis.loglog(x, ms, marker, label=f"{label}, slope {exponent:.2f}", markersize=5)
        half = x[len(x) // 2 :]
        last = np.exp(np.mean(np.log(ms[len(x) // 2 :])))
        middle = np.exp(np.mean(np.log(half)))
        line = [last * (value / middle) ** exponent for value in half]
        axis.plot(half, line, color=axis.lines[-1].get_color(), linewidth=1)
    axis.set_title(what, fontsize=10)
    axis.set_xlabel(work)
    axis.xaxis.set_minor_formatter("")  # they overlap on less than two decades
    axis.grid(True, which="major", alpha=0.3)
    axis.legend(fontsize=8)
