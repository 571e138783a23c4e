"""Results of a test: numbers, terminal table, JSON, TensorBoard."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from ..utils.files import write_atomic
from ..utils.tables import aligned
from .coco_ap import CocoResult
from .tasks import AREAS, COCO_SIGMAS, Task
from .voc_ap import Metric, VocResult

Rules = Literal["voc", "coco"]
_FREQUENCIES = {"rare": 10, "common": 100, "frequent": math.inf}
"""Largest numbers of training images with a class (Gupta et al. 2019, "LVIS")."""
Measure = Literal["detection", "proposal", "proposal_fast"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Results of a test on one data set. APs are in 0..1; NaN means "no object".

    Attributes:
        objects: number of objects that count, by class name.
        ignored: number of difficult and crowd objects, which do not count.
        voc: results by VOC's rules by metric, "07" and "all"; empty if not computed.
        coco: result of boxes by COCO's rules; None if not computed.
        voc_by_iou: results by VOC's rules at other IoUs, by metric.
        cause: why the headline number is probably 0; "" if it is not 0.
        instances: results of masks and keypoints by COCO's rules, by task.
        sigmas: spread of each keypoint that OKS used; empty without keypoints.
        train_images: number of training images with each class; empty if unknown.
    """

    dataset: str
    layout: Rules
    images: int
    detections: int
    objects: dict[str, int]
    ignored: int
    voc: dict[Metric, VocResult]
    coco: CocoResult | None
    voc_by_iou: tuple[dict[Metric, VocResult], ...] = ()
    cause: str = ""
    instances: dict[Task, CocoResult] = field(default_factory=dict)
    sigmas: tuple[float, ...] = ()
    train_images: dict[str, int] = field(default_factory=dict)

    @property
    def coco_results(self) -> dict[Task, CocoResult]:
        """Return the results by COCO's rules, of all tasks."""
        boxes: dict[Task, CocoResult] = {"bbox": self.coco} if self.coco else {}
        return boxes | self.instances

    @property
    def class_columns(self) -> dict[str, dict[str, float]]:
        """Return AP of each class by metric.

        Names are "AP_07", "AP_all" (VOC), "AP" (COCO), "segm/AP" and "keypoints/AP".
        """
        columns = {
            f"AP_{metric}": {name: c.ap for name, c in result.per_class.items()}
            for metric, result in self.voc.items()
        }
        if self.coco:
            columns["AP"] = self.coco.per_class
        for task, result in self.instances.items():
            columns[f"{task}/AP"] = result.per_class
        return columns

    @property
    def totals(self) -> dict[str, float]:
        """Return the numbers for the whole set.

        These are mAP_07, mAP_all (VOC), COCO's twelve, those of masks as "segm/AP" and
        so on, and those of keypoints as "keypoints/AP" and so on.
        """
        totals = {f"mAP_{metric}": r.mean_ap for metric, r in self.voc.items()}
        totals |= self.coco.metrics if self.coco else {}
        for task, result in self.instances.items():
            totals |= {f"{task}/{name}": v for name, v in result.metrics.items()}
        return totals

    @property
    def headline(self) -> tuple[str, float]:
        """Return the number to quote: mAP_07 in VOC layout, AP in COCO layout.

        Without boxes, it is the AP of masks, or else of keypoints.
        """
        quote_coco = self.coco and (self.layout == "coco" or not self.voc)
        name = "AP" if quote_coco else "mAP_07"
        if not self.coco and not self.voc:
            name = f"{next(iter(self.instances))}/AP"
        return name, self.totals[name]

    @property
    def per_class(self) -> dict[str, float]:
        """Return the AP of each class under the headline's metric."""
        return self.class_columns[self.headline[0].removeprefix("m")]

    @property
    def by_frequency(self) -> dict[str, tuple[float, int]]:
        """Return mean AP and number of the rare, common and frequent classes.

        These have at most 10, at most 100 and more training images (LVIS). Empty if the
        numbers are unknown, or all classes are in one group.
        """
        groups: dict[str, list[float]] = {group: [] for group in _FREQUENCIES}
        for name, ap in self.per_class.items():
            count = self.train_images.get(name)
            if count is not None and not math.isnan(ap):
                fits = (g for g, most in _FREQUENCIES.items() if count <= most)
                groups[next(fits)].append(ap)
        found = {g: (float(np.mean(aps)), len(aps)) for g, aps in groups.items() if aps}
        return found if len(found) > 1 else {}

    def scalars(self) -> dict[str, float]:
        """Return tag to value for TensorBoard, such as "AP_07/cat", without NaN."""
        scalars = dict(self.totals)
        scalars |= {f"AP_{name}": ap for name, (ap, _) in self.by_frequency.items()}
        for column, values in self.class_columns.items():
            scalars |= {f"{column}/{name}": ap for name, ap in values.items()}
        return {tag: value for tag, value in scalars.items() if not math.isnan(value)}

    def table(self) -> str:
        """Return the terminal table; see ``results_table``."""
        return results_table(self)

    def to_json(self) -> dict[str, object]:
        """Return plain values for ``json.dumps``, with fixed keys; None for NaN.

        ``voc`` and ``coco`` are None if these rules were not requested.
        """
        name, value = self.headline
        columns = self.class_columns
        voc: dict[str, object] | None = None
        if self.voc:
            voc = {"iou_threshold": self.voc["07"].iou_threshold}
            voc |= {f"mAP_{m}": number(r.mean_ap) for m, r in self.voc.items()}
            voc["by_iou"] = {
                f"{results['07'].iou_threshold:.4g}": {
                    f"mAP_{m}": number(r.mean_ap) for m, r in results.items()
                }
                for results in self.voc_by_iou
            }
        return {
            "dataset": self.dataset,
            "layout": self.layout,
            "headline": {"name": name, "value": number(value)},
            "counts": {
                "images": self.images,
                "objects": sum(self.objects.values()),
                "ignored_objects": self.ignored,
                "detections": self.detections,
            },
            "voc": voc,
            **_coco_json("coco", self.coco),
            **_coco_json("segm", self.instances.get("segm")),
            **_coco_json("keypoints", self.instances.get("keypoints")),
            "keypoint_sigmas": list(self.sigmas),
            "by_frequency": {name: ap for name, (ap, _) in self.by_frequency.items()},
            "areas": next((list(r.areas) for r in self.coco_results.values()), None),
            "per_class": {
                cls: {"objects": count}
                | {column: number(values[cls]) for column, values in columns.items()}
                for cls, count in self.objects.items()
            },
        }


def results_table(evaluation: Evaluation) -> str:
    """Format the per-class AP, their mean, COCO's numbers and the counts, aligned.

    The last line names the likely cause if the headline number is exactly 0, or if no
    object counts.
    """
    columns = evaluation.class_columns
    totals = evaluation.totals
    means = {c: totals[c if c in totals else f"m{c}"] for c in columns}
    rows = [["class", "objects", *map(heading, columns)]]
    for name, count in evaluation.objects.items():
        rows.append([name, str(count), *(cell(v[name]) for v in columns.values())])
    total = sum(evaluation.objects.values())
    rows.append(["mean", str(total), *(cell(mean) for mean in means.values())])
    lines = aligned(rows)
    rule = "-" * len(lines[0])
    lines = [lines[0], rule, *lines[1:-1], rule, lines[-1]]
    for result in evaluation.coco_results.values():
        lines += _coco_lines(result)
    if evaluation.sigmas and evaluation.sigmas != COCO_SIGMAS:
        sigmas = dict.fromkeys(f"{sigma:g}" for sigma in evaluation.sigmas)
        lines.append(f"sigmas of OKS (keypoint.sigmas): {', '.join(sigmas)}")
    if evaluation.voc_by_iou:
        lines += ["", *_by_iou(evaluation.voc_by_iou)]
    if groups := evaluation.by_frequency:
        told = [f"{name} {cell(ap)} ({count})" for name, (ap, count) in groups.items()]
        lines += ["", f"mean (classes) by images in training: {', '.join(told)}"]
    counts = f"images {evaluation.images}, detections {evaluation.detections}"
    if evaluation.ignored:
        counts += f", objects ignored (difficult or crowd) {evaluation.ignored}"
    name, value = evaluation.headline
    lines += ["", f"{evaluation.dataset}: {counts}", f"{name} = {cell(value)}"]
    hint = _hint(evaluation)
    return "\n".join([*lines, hint] if hint else lines)


def save_results(
    path: Path, evaluation: Evaluation, *, settings: Mapping[str, object] | None = None
) -> None:
    """Write ``evaluation.to_json()`` and its settings to ``path``, atomically.

    Args:
        path: the JSON file, usually ``results.json`` in the test folder.
        settings: further facts that explain the numbers (checkpoint, thresholds), as
            JSON values.

    Raises:
        ValueError: settings are not JSON values, or contain NaN.
        OSError: the file cannot be written, for example because the disk is full.
    """
    content = evaluation.to_json() | {"settings": dict(settings or {})}
    try:
        text = json.dumps(content, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: settings must be plain JSON values ({error}); give numbers, "
            "text, lists and dicts of them"
        ) from error
    write_atomic(path, text + "\n")


def _coco_json(name: str, result: CocoResult | None) -> dict[str, object]:
    """Return the entries of a task: numbers, those of each class, and the limit."""
    if result is None:
        return {f"{name}{end}": None for end in ("", "_per_class", "_max_detections")}
    return {
        name: {key: number(v) for key, v in result.metrics.items()},
        f"{name}_per_class": {
            cls: {key: number(v) for key, v in numbers.items()}
            for cls, numbers in result.class_metrics.items()
        },
        f"{name}_max_detections": result.max_detections,
    }


def _coco_lines(result: CocoResult) -> list[str]:
    """Format a task's numbers, and the limit on detections if it is felt."""
    numbers = [f"{k} {cell(v)}" for k, v in result.metrics.items()]
    half = (len(numbers) + 1) // 2
    lines = ["", "  ".join(numbers[:half]), "  ".join(numbers[half:])]
    if result.task != "bbox":
        lines[0:1] = ["", f"{result.task}:"]
    if result.areas != AREAS:
        small, large = result.areas
        lines.append(f"small: below {small:g}^2 pixels, large: above {large:g}^2")
    limit = f"{result.max_detections} best detections of an image and class"
    if not result.usual and not result.left_out:
        lines.append(f"with the {limit}")
    if result.left_out:
        like = ", like COCO's" if result.usual else ""
        lines.append(
            f"AP uses the {limit}{like}: {result.left_out} were dropped "
            "(test.max_detections N and frcnn reval --max-dets N use N)"
        )
    return lines


def number(value: float) -> float | None:
    """Convert a number for JSON, which has neither NaN nor infinity."""
    return float(value) if math.isfinite(value) else None


def cell(value: float) -> str:
    """Format a number for a terminal table; "-" for NaN."""
    return "-" if math.isnan(value) else f"{value:.4f}"


def heading(name: str) -> str:
    """Return the name of a number as a title, such as "segm AP" of "segm/AP"."""
    return name.replace("_", " ").replace("/", " ")


def _by_iou(results: Sequence[Mapping[Metric, VocResult]]) -> list[str]:
    """Format mAP at each overlap, and the mean."""
    aps = {m: [each[m].mean_ap for each in results] for m in results[0]}
    rows = [["IoU", *(f"mAP {metric}" for metric in aps)]]
    for each in results:
        (threshold, *_) = [result.iou_threshold for result in each.values()]
        rows.append([f"{threshold:.4g}", *(cell(r.mean_ap) for r in each.values())])
    rows.append(["mean", *(cell(float(np.mean(values))) for values in aps.values())])
    return aligned(rows)


def _hint(evaluation: Evaluation) -> str:
    name, value = evaluation.headline
    if math.isnan(value):
        if not sum(evaluation.objects.values()) and not evaluation.ignored:
            return (
                f"{name} has no value: {evaluation.dataset} has no ground truth; "
                "detections.json is what an evaluation server takes"
            )
        return (
            f"{name} has no value: {evaluation.dataset} has no object that counts; "
            "check its annotations and class names"
        )
    if value > 0:
        return ""
    if evaluation.detections == 0:
        return (
            f"{name} is 0 because there are no detections: the network is hardly "
            "trained, or the test score threshold is too high"
        )
    return f"{name} is 0 although there are detections: {evaluation.cause}"
