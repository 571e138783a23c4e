"""Evaluate detections by the rules of VOC and COCO."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..datasets.index.indexed_records import as_records
from ..datasets.records import Dataset
from .coco_ap import coco_metrics
from .coco_evaluators import IOU_THRESHOLDS, Evaluator
from .image_detections import ImageDetections
from .results_summary import Evaluation, Rules, results_table, save_results
from .voc_ap import Metric, VocResult, voc_average_precisions
from .zero_cause import likely_cause

__all__ = ["Evaluation", "Rules", "evaluate", "results_table", "save_results"]


def evaluate(
    dataset: Dataset,
    detections: Sequence[ImageDetections],
    *,
    rules: Sequence[Rules] | None = None,
    iou_threshold: float = 0.5,
    iou_thresholds: Sequence[float] | None = None,
    evaluator: Evaluator = "hotcoco",
    max_detections: int | None = None,
) -> Evaluation:
    """Measure detections against a data set's ground truth.

    Args:
        dataset: images and ground truth.
        detections: one entry per image of ``dataset``.
        rules: "voc" for AP in both of VOC's metrics, "coco" for COCO's twelve numbers,
            or both. By default those of the data set's layout.
        iou_threshold: overlap that a match must exceed by VOC's rules.
        iou_thresholds: additional thresholds for VOC's rules, and the thresholds that
            COCO's AP is averaged over; if None, none and COCO's own ten.
        evaluator: implementation of COCO's numbers.
        max_detections: additional limit per image and class for COCO's AP and AR,
            besides its own 100; if None, no other.

    Raises:
        ValueError: the rules are unknown, a number does not apply to them, or
            detections do not match the data set: images are unknown, missing or
            repeated, classes are unknown, or values are not finite.
    """
    rules = (dataset.layout,) if rules is None else rules
    if not rules or set(rules) - {"voc", "coco"}:
        raise ValueError(f'expected rules "voc", "coco" or both, found {list(rules)}')
    if max_detections is not None and "coco" not in rules:
        raise ValueError(
            f"expected COCO's rules with max_detections {max_detections}, found VOC's "
            "alone, which use all detections; request COCO's (--rules coco)"
        )
    voc: tuple[dict[Metric, VocResult], ...] = ({},)
    if "voc" in rules:
        voc = voc_average_precisions(
            dataset,
            detections,
            iou_thresholds=(iou_threshold, *(iou_thresholds or ())),
        )
    coco = None
    if "coco" in rules:
        coco = coco_metrics(
            dataset,
            detections,
            evaluator=evaluator,
            iou_thresholds=iou_thresholds or IOU_THRESHOLDS,
            max_detections=max_detections,
        )
    records = as_records(dataset.records)
    ignored = records.difficult | records.crowd
    counts = np.bincount(records.classes[~ignored], minlength=len(dataset.classes))
    evaluation = Evaluation(
        dataset=dataset.name,
        layout=dataset.layout,
        images=len(records),
        detections=sum(len(entry.scores) for entry in detections),
        objects=dict(zip(dataset.classes[1:], counts[1:].tolist(), strict=True)),
        ignored=int(np.count_nonzero(ignored)),
        voc=dict(voc[0]),
        coco=coco,
        voc_by_iou=voc[1:],
    )
    if evaluation.headline[1] == 0 and evaluation.detections:
        return replace(evaluation, cause=likely_cause(dataset, detections))
    return evaluation
