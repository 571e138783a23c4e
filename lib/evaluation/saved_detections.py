"""Read detections and proposals that a test, or another tool, has saved."""

from pathlib import Path

import numpy as np

from ..datasets.records import Dataset
from ..utils.files import write_csv
from ..utils.monitoring.slow_steps import slow_step
from .image_detections import ImageDetections
from .proposal_recall import ImageProposals, load_proposals
from .results import load_detections
from .results_summary import Evaluation
from .voc_files import load_voc_files


@slow_step("reading the detections")
def load_saved(
    source: Path, dataset: Dataset, *, comp: str | None = None
) -> list[ImageDetections]:
    """Read saved detections in any supported format.

    Args:
        source: a COCO result list such as a run's detections.json, a test folder that
            contains one, or a folder of VOC's result files.
        comp: competition whose files of a folder to read; None if there is only one.

    Raises:
        ValueError: there are no such files, they do not match the data set, or they
            are empty.
    """
    if comp is None and (source / "detections.json").is_file():
        source = source / "detections.json"
    if source.is_dir():
        detections = load_voc_files(source, dataset, comp=comp)
    elif source.is_file():
        detections = load_detections(source, dataset)
    else:
        raise ValueError(
            f"{source}: expected detections.json, another COCO result list or a folder "
            "of VOC result files, found nothing; check the path"
        )
    if not any(len(entry.scores) for entry in detections):
        raise ValueError(
            f"{source}: expected detections on {dataset.name}, found none; there is "
            "nothing to evaluate: was the test's score threshold too high?"
        )
    return detections


def load_saved_proposals(source: Path, dataset: Dataset) -> list[ImageProposals]:
    """Read proposals, or detections as proposals.

    Raises:
        ValueError: see ``load_saved`` and ``load_proposals``.
    """
    if source.suffix == ".npz":
        return load_proposals(source, dataset)
    return [
        ImageProposals(entry.image_id, entry.boxes, entry.scores)
        for entry in load_saved(source, dataset)
    ]


def save_curves(path: Path, evaluation: Evaluation) -> None:
    """Write recall and precision of each class by VOC's rules as CSV.

    A row for each detection, best score first: ``iou, class, score, recall,
    precision``.

    Raises:
        ValueError: the evaluation has no result by VOC's rules.
        OSError: the file cannot be written.
    """
    if not evaluation.voc:
        raise ValueError(
            f"{evaluation.dataset} was not evaluated by VOC rules, which the curves "
            "need; give --rules voc"
        )
    results = [evaluation.voc, *evaluation.voc_by_iou]
    rows: list[list[str]] = [["iou", "class", "score", "recall", "precision"]]
    for result in {r["all"].iou_threshold: r["all"] for r in results}.values():
        for name, curve in result.per_class.items():
            head = [f"{result.iou_threshold:.4g}", name]
            columns = np.column_stack([curve.scores, curve.recall, curve.precision])
            rows += [[*head, *(f"{v:.6g}" for v in row)] for row in columns.tolist()]
    write_csv(path, rows)
