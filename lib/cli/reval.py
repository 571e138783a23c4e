"""Evaluate saved detections again, without the network."""

import argparse
import json
import logging
from pathlib import Path

from ..datasets.catalog import load_dataset
from ..datasets.given_files import as_folders
from ..datasets.records import BOXES, Dataset, Wanted
from ..evaluation.detection_tables import save_table_or_json
from ..evaluation.ground_truth import read_annotations
from ..evaluation.image_detections import ImageDetections
from ..evaluation.page.label_errors import write_label_errors
from ..evaluation.page.report import write_report
from ..evaluation.proposal_recall import evaluate_proposals
from ..evaluation.results import save_coco_upload
from ..evaluation.saved_detections import load_saved, load_saved_proposals, save_curves
from ..evaluation.scoring import evaluate, save_results
from ..evaluation.selection import (
    above_score,
    best_of_image,
    only_classes,
    suppress,
    suppress_softly,
)
from ..evaluation.tasks import (
    AREAS,
    IOU_THRESHOLDS,
    MAX_DETECTIONS,
    CocoParameters,
    predicted_tasks,
)
from ..evaluation.voc_files import save_voc_files
from ..nms import GaussianDecay, LinearDecay
from ..utils.files import write_atomic
from ..utils.printable import show
from .arguments.evaluation import split_measures
from .user_errors import clear_errors

logger = logging.getLogger(__name__)

OF_DETECTIONS = (
    *("rules", "classes", "score", "nms", "soft_nms", "soft_nms_linear", "max"),
    *("max_dets", "areas", "sigmas"),
    *(
        "curves",
        "report",
        "label_errors",
        "earlier",
        "save",
        "save_voc",
        "upload",
        "comp",
    ),
)


def main(arguments: argparse.Namespace) -> None:
    """Read the ground truth and the results, select detections, evaluate."""
    with clear_errors():
        measure, arguments.tasks = split_measures(arguments.eval)
        if Path(arguments.dataset).suffix != ".json":
            arguments.dataset = as_folders(arguments.dataset)
        dataset = ground_truth(arguments)
        if measure != "detection" or arguments.source.suffix == ".npz":
            measure_proposals(dataset, arguments)
        else:
            measure_detections(dataset, arguments)


def ground_truth(arguments: argparse.Namespace, wanted: Wanted = BOXES) -> Dataset:
    """Load the data set by word, name or folder, or from an annotation file alone."""
    word = arguments.dataset
    if Path(word).suffix == ".json":
        return read_annotations(Path(word))
    return load_dataset(word, root=arguments.root, split=arguments.split, wanted=wanted)


def load_both(
    dataset: Dataset, arguments: argparse.Namespace
) -> tuple[Dataset, list[ImageDetections]]:
    """Load the detections, and masks and keypoints of the data set if they have any."""
    comp = arguments.comp if arguments.source.is_dir() else None
    detections = load_saved(arguments.source, dataset, comp=comp)
    tasks = arguments.tasks or predicted_tasks(detections)
    wanted = Wanted(masks="segm" in tasks, keypoints="keypoints" in tasks)
    if wanted != BOXES and Path(arguments.dataset).suffix != ".json":
        dataset = ground_truth(arguments, wanted)
        detections = load_saved(arguments.source, dataset, comp=comp)
    return dataset, detections


def measure_proposals(dataset: Dataset, arguments: argparse.Namespace) -> None:
    """Compute the average recall of proposals.

    Raises:
        ValueError: an option is given that applies only to detections.
    """
    given = [name for name in OF_DETECTIONS if getattr(arguments, name) is not None]
    if given:
        raise ValueError(
            f"--{given[0].replace('_', '-')} applies to detections, found proposals; "
            "leave it out, or give --eval detection with detections"
        )
    result = evaluate_proposals(
        dataset,
        load_saved_proposals(arguments.source, dataset),
        evaluator=arguments.evaluator,
        iou_thresholds=arguments.iou or IOU_THRESHOLDS,
    )
    show(result.table())
    if arguments.results:
        content = json.dumps(result.to_json(), indent=2, allow_nan=False)
        write_atomic(arguments.results, content + "\n")


def measure_detections(dataset: Dataset, arguments: argparse.Namespace) -> None:
    """Compute the average precision of the selected detections."""
    dataset, detections = load_both(dataset, arguments)
    dataset, detections = choose(dataset, detections, arguments)
    evaluation = evaluate(
        dataset,
        detections,
        tasks=arguments.tasks,
        rules=arguments.rules,
        iou_thresholds=arguments.iou or (),
        evaluator=arguments.evaluator,
        parameters=coco_arguments(dataset, arguments),
    )
    show(evaluation.table())
    if arguments.results:
        names = ("score", "nms", "soft_nms", "soft_nms_linear", "max", "classes")
        chosen = {name: getattr(arguments, name) for name in names}
        settings = {"source": str(arguments.source), "chosen": chosen}
        save_results(arguments.results, evaluation, settings=settings)
    if arguments.report:
        write_report(
            arguments.report,
            dataset,
            detections,
            evaluation,
            earlier=arguments.earlier,
            known={"detections": str(arguments.source)},
        )
    if arguments.label_errors:
        folder = arguments.label_errors
        errors = write_label_errors(
            folder, dataset, detections, formats=arguments.export
        )
        logger.info("%d likely label errors: %s", len(errors), folder / "labels.html")
    if arguments.curves:
        save_curves(arguments.curves, evaluation)
    if arguments.save:
        save_table_or_json(arguments.save, detections, dataset)
    if arguments.save_voc:
        comp = arguments.comp or "comp4"
        save_voc_files(arguments.save_voc, detections, dataset, comp=comp)
    if arguments.upload:
        folder, algorithm = Path(arguments.upload[0]), arguments.upload[1]
        for task in arguments.tasks or predicted_tasks(detections):
            archive = save_coco_upload(
                # Files of boxes and of masks have the same name.
                folder / "segm" if task == "segm" else folder,
                detections,
                dataset,
                algorithm=algorithm,
                task=task,
            )
            logger.info("archive to upload (%s): %s", task, archive)


def coco_arguments(dataset: Dataset, arguments: argparse.Namespace) -> CocoParameters:
    """Return the parameters of COCO's rules.

    Raises:
        ValueError: the limit is given for VOC's rules, which have none.
    """
    rules = arguments.rules or [dataset.layout]
    by_coco = "coco" in rules or {"segm", "keypoints"} & {*(arguments.tasks or ())}
    if arguments.max_dets is not None and not by_coco:
        raise ValueError(
            f"--max-dets {arguments.max_dets} applies to COCO's rules, found VOC's "
            "alone, which use all detections; request COCO's (--rules coco)"
        )
    limit = arguments.max_dets
    if limit is None and (arguments.max or 0) > MAX_DETECTIONS["bbox"]:
        limit = arguments.max
    low, high = arguments.areas or AREAS
    return CocoParameters(
        arguments.iou or IOU_THRESHOLDS, limit, (low, high), arguments.sigmas or ()
    )


def choose(
    dataset: Dataset, detections: list[ImageDetections], arguments: argparse.Namespace
) -> tuple[Dataset, list[ImageDetections]]:
    """Apply the options that select detections, in order."""
    if arguments.classes:
        dataset, detections = only_classes(dataset, detections, arguments.classes)
    if arguments.score is not None:
        detections = above_score(detections, arguments.score)
    if arguments.nms is not None:
        detections = suppress(detections, threshold=arguments.nms)
    elif arguments.soft_nms is not None:
        detections = suppress_softly(detections, GaussianDecay(arguments.soft_nms))
    elif arguments.soft_nms_linear is not None:
        detections = suppress_softly(detections, LinearDecay(arguments.soft_nms_linear))
    if arguments.max is not None:
        detections = best_of_image(detections, arguments.max)
    return dataset, detections
