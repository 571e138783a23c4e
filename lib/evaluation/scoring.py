"""Evaluate detections by the rules of VOC and COCO."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..datasets.index.indexed_records import as_records
from ..datasets.records import Dataset
from ..utils.monitoring.slow_steps import slow_step
from .coco_ap import CocoResult, coco_results
from .coco_evaluators import Evaluator
from .image_detections import ImageDetections
from .results_summary import Evaluation, Rules, results_table, save_results
from .tasks import COCO, CocoParameters, Task, keypoint_sigmas, settle_tasks
from .voc_ap import Metric, VocResult, voc_average_precisions
from .zero_cause import likely_cause

__all__ = ["Evaluation", "Rules", "evaluate", "results_table", "save_results"]


@slow_step("measuring average precision")
def evaluate(
    dataset: Dataset,
    detections: Sequence[ImageDetections],
    *,
    tasks: Sequence[Task] | None = None,
    rules: Sequence[Rules] | None = None,
    iou_threshold: float = 0.5,
    iou_thresholds: Sequence[float] = (),
    evaluator: Evaluator = "hotcoco",
    parameters: CocoParameters = COCO,
) -> Evaluation:
    """Measure detections against a data set's ground truth.

    Args:
        tasks: what to measure: "bbox", "segm" (masks), "keypoints". By default all that
            the detector predicts and the data set has.
        rules: rules for boxes: "voc" for AP in both of VOC's metrics, "coco" for COCO's
            twelve numbers, or both. By default those of the data set's layout. Masks
            and keypoints are always measured by COCO's.
        iou_threshold: overlap that a match must exceed by VOC's rules.
        iou_thresholds: additional thresholds for VOC's rules.
        parameters: of COCO's rules. VOC's consider all detections.

    Raises:
        ValueError: the rules or tasks are unknown, a number does not apply to them, or
            detections do not match the data set: images are unknown, missing or
            repeated, classes are unknown, values are not finite, or masks or keypoints
            are requested but not there.
    """
    rules = (dataset.layout,) if rules is None else rules
    if not rules or set(rules) - {"voc", "coco"}:
        raise ValueError(f'expected rules "voc", "coco" or both, found {list(rules)}')
    tasks = settle_tasks(dataset, detections, tasks)
    by_coco = [task for task in tasks if task != "bbox" or "coco" in rules]
    voc: tuple[dict[Metric, VocResult], ...] = ({},)
    if "voc" in rules and "bbox" in tasks:
        voc = voc_average_precisions(
            dataset,
            detections,
            iou_thresholds=(iou_threshold, *iou_thresholds),
        )
    coco: dict[Task, CocoResult] = {}
    if by_coco:
        coco = coco_results(
            dataset,
            detections,
            tasks=by_coco,
            evaluator=evaluator,
            parameters=parameters,
        )
    used: tuple[float, ...] = ()
    if "keypoints" in coco and dataset.keypoints is not None:
        used = keypoint_sigmas(len(dataset.keypoints.names), parameters.sigmas)
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
        coco=coco.pop("bbox", None),
        voc_by_iou=voc[1:],
        instances=coco,
        sigmas=used,
    )
    if evaluation.headline[1] == 0 and evaluation.detections:
        return replace(evaluation, cause=likely_cause(dataset, detections))
    return evaluation
