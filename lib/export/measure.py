"""Measure the average precision of an exported file on a data set."""

from ..datasets.records import Dataset
from ..evaluation.results import ImageDetections
from ..evaluation.scoring import Evaluation, evaluate
from ..inference.postprocess import to_image_detections
from .export_error import ExportError
from .photos import batches
from .running import Exported


def measure(exported: Exported, dataset: Dataset) -> Evaluation:
    """Run a file on all images of a data set, one by one, and evaluate.

    Args:
        exported: the loaded file.
        dataset: the test set.

    Raises:
        ExportError: the data set has other classes.
    """
    if exported.about.classes != dataset.classes:
        raise ExportError(
            f"the detector knows the classes {', '.join(exported.about.classes[1:])}, "
            f"but {dataset.name} has {', '.join(dataset.classes[1:])}; measure it on a "
            "set of the same classes"
        )
    records = list(dataset.records)
    found: list[ImageDetections] = []
    for inputs in batches([record.path for record in records], exported.about):
        names = [
            r.image_id for r in records[len(found) : len(found) + len(inputs.sizes)]
        ]
        # A fixed batch may be filled up; and boxes are edges already.
        found += to_image_detections(exported(inputs), names, offset=0)
    return evaluate(dataset, found)
