"""The test of a detector on a data set: detections, average precision, pictures."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import torch

from ..config.settings import Config
from ..datasets.given_proposals import given_proposals
from ..datasets.loading.orientation import show_annotated
from ..datasets.records import Dataset
from ..evaluation.coco_evaluators import Evaluator
from ..evaluation.detection_tables import save_table_or_json
from ..evaluation.image_detections import ImageDetections
from ..evaluation.page.report import write_report
from ..evaluation.pictures import detections_picture, truth_picture
from ..evaluation.results import save_detections
from ..evaluation.score_thresholds import class_thresholds
from ..evaluation.scoring import Evaluation, evaluate, save_results
from ..evaluation.selection import above_score
from ..evaluation.tasks import Task, coco_parameters
from ..evaluation.voc_files import save_voc_files
from ..model.network import Network
from ..utils.distributed import collectives
from ..utils.drawing import save_image, side_by_side
from ..utils.monitoring.slow_steps import slow_step
from ..weights.class_names import in_places
from .ordered_batches import gather_results
from .postprocess import detect_images
from .test_time_augmentation import view_batches

logger = logging.getLogger(__name__)


class EvaluationOptions(NamedTuple):
    """How detections are evaluated.

    Attributes:
        evaluator: implementation that computes COCO's numbers.
        comp: competition of VOC's result files, written to voc/; None for no files.
        places: indices of the detector's classes among those of the set; None if the
            classes are the same.
        tasks: what to measure; None for all that the detector predicts and the set has.
        out: another file for the detections, COCO results of all tasks or a table in
            ``.csv``; None for none.
        show_dir: folder for a picture of every image; None for none.
        train_images: number of training images with each class; empty if unknown.
    """

    evaluator: Evaluator = "hotcoco"
    comp: str | None = None
    places: Sequence[int] | None = None
    tasks: Sequence[Task] | None = None
    out: Path | None = None
    show_dir: Path | None = None
    train_images: Mapping[str, int] = MappingProxyType({})


def evaluate_detector(
    model: Network,
    dataset: Dataset,
    config: Config,
    *,
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    checkpoint: str,
    options: EvaluationOptions = EvaluationOptions(),  # noqa: B008  (immutable)
) -> Evaluation | None:
    """Detect objects, measure the detections, and write everything to ``folder``.

    Each of several processes detects on a part of the images; the main one measures.
    The batches are those of a single process, so the detections are the same.

    Args:
        model: the detector.
        dataset: the test set.
        config: configuration of the run.
        folder: folder for detections.json, results.json, pictures/ and report.html.
        device: the model's device.
        dtype: dtype of the computation.
        checkpoint: name of the weights, for the record.
        options: options of the evaluation.

    Returns:
        The figures; None on processes other than the main one.

    Raises:
        ImageError: an image cannot be read; without it the test is not comparable.
        ValueError: an image has no proposals for Fast R-CNN alone.
    """
    test, place = config.test, collectives.process_rank()
    if (test.max_detections or 0) > test.detections_per_image:
        logger.warning(
            "test.max_detections %d has no effect beyond test.detections_per_image %d: "
            "raise that too",
            *(test.max_detections, test.detections_per_image),
        )
    limits = class_thresholds(
        dataset.classes, test.score_threshold, test.class_thresholds
    )
    batches = view_batches(
        dataset.records,
        config,
        pin_memory=device.type == "cuda",
        share=(place.rank, place.processes),
        proposals=given_proposals(dataset, config, "test"),
    )
    results = detect_images(
        model, batches, boxes=config.boxes, test=test, device=device, dtype=dtype
    )
    gathered = gather_results(dataset, results)
    if gathered is None:
        return None
    found, seconds = gathered
    if test.class_thresholds:
        found = above_score(found, limits)
    if options.places is not None:
        found = [in_places(entry, options.places) for entry in found]
    save_detections(folder / "detections.json", found, dataset)
    if options.out is not None:
        save_table_or_json(options.out, found, dataset)
    if options.comp is not None:
        save_voc_files(folder / "voc", found, dataset, comp=options.comp)
    evaluation = evaluate(
        dataset,
        found,
        tasks=options.tasks,
        evaluator=options.evaluator,
        parameters=coco_parameters(config),
    )
    evaluation = replace(evaluation, train_images=dict(options.train_images))
    save_results(
        folder / "results.json",
        evaluation,
        settings={
            "checkpoint": checkpoint,
            "seconds": round(seconds, 2),
            "precision": str(dtype).removeprefix("torch."),
            "test": test.model_dump(mode="json"),
        },
    )
    save_pictures(
        folder / "pictures",
        dataset,
        found,
        count=test.pictures,
        threshold=test.picture_threshold,
    )
    if options.show_dir is not None:
        save_pictures(
            options.show_dir,
            dataset,
            found,
            count=len(dataset.records),
            threshold=test.picture_threshold,
        )
    if test.report:
        known = {"net": config.net.full_name, "checkpoint": checkpoint}
        if folder.parent.parent.name == "test":  # in the folder of a run
            known["run"] = "/".join(folder.parts[-6:-3])
        write_report(folder, dataset, found, evaluation, known=known)
        logger.info("error analysis: %s", folder / "report.html")
    return evaluation


def save_pictures(
    folder: Path,
    dataset: Dataset,
    detections: list[ImageDetections],
    *,
    count: int,
    threshold: float,
) -> None:
    """Draw ground truth and detections side by side for a sample of the images.

    Args:
        folder: folder for one JPEG per image.
        dataset: the test set, with ground truth.
        detections: one entry per image, in the order of the records.
        count: number of images, spread evenly over the set.
        threshold: lowest score of a drawn detection.
    """
    total = len(dataset.records)
    count = min(count, total)
    with slow_step(f"drawing {count} pictures into {folder}"):
        for index in (i * total // count for i in range(count)):
            _save_picture(folder, dataset, index, detections[index], threshold)


def _save_picture(
    folder: Path,
    dataset: Dataset,
    index: int,
    entry: ImageDetections,
    threshold: float,
) -> None:
    record = dataset.records[index]
    pixels = show_annotated(record.path, (record.width, record.height))
    truth = truth_picture(pixels, record, dataset)
    found = detections_picture(pixels, entry, dataset, threshold=threshold)
    save_image(
        folder / f"{record.image_id}.jpg",
        side_by_side([truth, found], ["ground truth", "detections"]),
    )
