"""Detections as a table in CSV: a row for each box, for spreadsheets and scripts."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..datasets.records import Dataset
from ..utils.files import write_csv
from .image_detections import ImageDetections
from .results import save_detections


class TableRow(NamedTuple):
    """A box in an image: pixel edges of the stored image. Fields are the columns.

    ``frcnn train`` reads such a table as annotations, without the score.
    """

    filename: str
    width: int
    height: int
    label: str
    score: float
    xmin: float
    ymin: float
    xmax: float
    ymax: float


COLUMNS = ["class" if name == "label" else name for name in TableRow._fields]


def write_table(path: Path, rows: Iterable[TableRow]) -> None:
    """Write rows in one step, coordinates to hundredths of a pixel.

    Raises:
        OSError: the file cannot be written.
    """
    texts = (
        [*row[:4], f"{row.score:.5f}", *(f"{side:.2f}" for side in row[5:])]
        for row in rows
    )
    write_csv(path, itertools.chain([COLUMNS], texts))


def save_table_or_json(
    path: Path, detections: Sequence[ImageDetections], dataset: Dataset
) -> None:
    """Save a test's detections: as a table in ``.csv``, or else as COCO's results.

    Raises:
        ValueError: see ``flatten``.
        OSError: the file cannot be written.
    """
    if path.suffix == ".csv":
        write_table(path, _rows(detections, dataset))
    else:
        save_detections(path, detections, dataset)


def _rows(
    detections: Sequence[ImageDetections], dataset: Dataset
) -> Iterator[TableRow]:
    for record, entry in zip(dataset.records, detections, strict=True):
        for box, label, score in zip(
            entry.boxes.tolist(),
            entry.classes.tolist(),
            entry.scores.tolist(),
            strict=True,
        ):
            yield TableRow(
                record.path.name,
                record.width,
                record.height,
                dataset.classes[label],
                score,
                *box,
            )
