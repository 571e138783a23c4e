"""The test of a detector on a data set: detections, average precision, pictures."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from ..config.settings import Config
from ..datasets.given_proposals import given_proposals
from ..datasets.index.indexed_records import as_records
from ..datasets.loading.images import read_image
from ..datasets.records import Dataset
from ..evaluation.coco_evaluators import Evaluator
from ..evaluation.page.report import write_report
from ..evaluation.results import ImageDetections, save_detections
from ..evaluation.scoring import Evaluation, evaluate, save_results
from ..evaluation.voc_files import save_voc_files
from ..model.network import Network
from ..utils.distributed import collectives
from ..utils.drawing import class_color, draw_boxes, save_image, side_by_side
from ..utils.monitoring.progress import Progress
from ..weights.class_names import in_places
from .postprocess import detect_images
from .test_time_augmentation import view_batches

logger = logging.getLogger(__name__)


def evaluate_detector(
    model: Network,
    dataset: Dataset,
    config: Config,
    *,
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    checkpoint: str,
    evaluator: Evaluator = "hotcoco",
    comp: str | None = None,
    places: Sequence[int] | None = None,
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
        evaluator: implementation that computes COCO's numbers.
        comp: competition of VOC's result files, written to voc/; None for no files.
        places: indices of the detector's classes among those of the set; None if the
            classes are the same.

    Returns:
        The figures; None on processes other than the main one.

    Raises:
        ImageError: an image cannot be read; without it the test is not comparable.
        ValueError: an image has no proposals for Fast R-CNN alone.
    """
    test, place = config.test, collectives.process_rank()
    batches = view_batches(
        dataset.records,
        config,
        pin_memory=device.type == "cuda",
        share=(place.rank, place.processes),
        proposals=given_proposals(dataset, config, "test"),
    )
    found: list[ImageDetections] = []
    started = time.perf_counter()
    count = len(dataset.records)
    with Progress(count, log_every=max(count // 5, 1)) as progress:
        for detections in detect_images(
            model,
            batches,
            boxes=config.boxes,
            test=test,
            device=device,
            dtype=dtype,
        ):
            found += detections
            if place.rank == 0:  # the others' shares are as large
                done = min(len(found) * place.processes, count)
                progress.update(done, images=len(detections) * place.processes)
    parts = collectives.gather(found)
    if place.rank != 0:
        return None
    found = [entry for part in parts for entry in part]
    seconds = time.perf_counter() - started
    logger.info("tested %d images of %s in %.1f s", count, dataset.name, seconds)

    order = {name: i for i, name in enumerate(as_records(dataset.records).image_ids)}
    found.sort(key=lambda entry: order[entry.image_id])
    if places is not None:
        found = [in_places(entry, places) for entry in found]
    folder.mkdir(parents=True, exist_ok=True)
    save_detections(folder / "detections.json", found, dataset)
    if comp is not None:
        save_voc_files(folder / "voc", found, dataset, comp=comp)
    evaluation = evaluate(dataset, found, evaluator=evaluator)
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
    if test.report:
        write_report(folder, dataset, found, evaluation)
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
    for index in (i * total // count for i in range(count)):
        record, entry = dataset.records[index], detections[index]
        pixels = read_image(record.path)
        shown = entry.scores >= threshold
        truth = draw_boxes(
            pixels,
            record.boxes,
            labels=[dataset.classes[c] for c in record.classes],
            colors=[class_color(int(c)) for c in record.classes],
        )
        found = draw_boxes(
            pixels,
            entry.boxes[shown],
            labels=[dataset.classes[c] for c in entry.classes[shown]],
            scores=entry.scores[shown].tolist(),
            colors=[class_color(int(c)) for c in entry.classes[shown]],
        )
        save_image(
            folder / f"{record.image_id}.jpg",
            side_by_side([truth, found], ["ground truth", "detections"]),
        )
