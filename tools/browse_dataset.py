#!/usr/bin/env python3
"""Show what the network is trained on: contact sheets of augmented batches.

The pictures are the batches of a training run with the same arguments, from its first
iteration on, padding (black) included. Grey boxes are seen but not trained on: crowds,
difficult objects, and what a cut leaves too little of.
"""

import argparse
import itertools
import logging
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from faster_rcnn.datasets.catalog import dataset_name
from faster_rcnn.datasets.loading.batches import Batch
from faster_rcnn.model.command_line import (
    REPOSITORY,
    add_arguments,
    add_training_arguments,
    clear_errors,
    get_dataset,
    make_job,
)
from faster_rcnn.model.train import stream_batches
from faster_rcnn.utils.drawing import (
    Picture,
    class_color,
    draw_boxes,
    save_image,
    side_by_side,
)

logger = logging.getLogger("faster_rcnn")

_GREY = (150, 150, 150)


def build_parser() -> argparse.ArgumentParser:
    """The arguments of a training run, and those of the sheets."""
    parser = argparse.ArgumentParser(
        prog="browse_dataset.py", description=__doc__, conflict_handler="resolve"
    )
    add_arguments(parser)
    add_training_arguments(parser)
    parser.add_argument(
        "--count", type=_positive, default=24, help="images to show; default: 24"
    )
    parser.add_argument(
        "--columns", type=_positive, default=4, help="images in a row; default: 4"
    )
    parser.add_argument(
        "--rows", type=_positive, default=6, help="rows of a sheet; default: 6"
    )
    parser.add_argument(
        "--size", type=_positive, default=400, help="longer side of an image in pixels"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help=".jpg or .png; if there are more sheets than one, their number is added; "
        "default: output/browse/DATASET_NET.jpg",
    )
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number > 0, found {text!r}")
    return int(text)


def main() -> None:
    """Load, draw, save."""
    arguments = build_parser().parse_args()
    with clear_errors():
        job = make_job(arguments)
        config = job.config
        dataset = get_dataset(job.dataset, config, "train")
        data = config.data.model_copy(update={"workers": 0})  # the stream is the same
        batches = stream_batches(dataset, config.model_copy(update={"data": data}))
        pictures = network_pictures(
            batches,
            dataset.classes,
            offset=config.boxes.offset,
            count=arguments.count,
            size=arguments.size,
        )
        name = f"{dataset_name(job.dataset)}_{config.net.name}.jpg"
        output = arguments.output or REPOSITORY / "output" / "browse" / name
        per_sheet = arguments.columns * arguments.rows
        for number in range(1, -(-arguments.count // per_sheet) + 1):
            cells = list(itertools.islice(pictures, per_sheet))
            alone = len(cells) == arguments.count
            path = output if alone else output.with_stem(f"{output.stem}_{number}")
            save_image(path, contact_sheet(cells, columns=arguments.columns))
            logger.info("%d images are in %s", len(cells), path)


def network_pictures(
    batches: Iterator[Batch],
    class_names: tuple[str, ...],
    *,
    offset: float,
    count: int,
    size: int,
) -> Iterator[tuple[Picture, str]]:
    """Pictures of the first images of a stream as the network gets them, with titles.

    Args:
        batches: the stream.
        class_names: C names, the first being the background's.
        offset: of the boxes.
        count: images.
        size: longer side of a picture in pixels.
    """
    shown = 0
    for batch in batches:
        for problem in batch.problems:
            logger.warning("replaced by another image: %s", problem)
        for i, image_id in enumerate(batch.image_ids[: count - shown]):
            scale = float(batch.scales[i])
            height, width = batch.images.sizes[i].tolist()
            title = f"{image_id}: {width} x {height}, scale {scale:.2f}"
            yield _picture(batch, i, class_names, offset=offset, size=size), title
        shown += len(batch.image_ids)
        if shown >= count:
            return


def _picture(
    batch: Batch, i: int, class_names: tuple[str, ...], *, offset: float, size: int
) -> Picture:
    canvas = batch.images.pixels[i].permute(1, 2, 0).contiguous().numpy()
    factor = size / max(canvas.shape[:2])
    area = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    picture = cv2.resize(canvas, None, fx=factor, fy=factor, interpolation=area)
    truth = batch.ground_truth
    classes = truth.classes[i][truth.valid[i]].tolist()
    trained = truth.boxes[i][truth.valid[i]].numpy()
    edges = np.concatenate([trained, batch.ignored[i]])
    edges[:, 2:] += offset
    return draw_boxes(
        np.asarray(picture, np.uint8),
        edges * factor,
        labels=[class_names[c] for c in classes] + ["ignored"] * len(batch.ignored[i]),
        colors=[class_color(c) for c in classes] + [_GREY] * len(batch.ignored[i]),
    )


def contact_sheet(cells: list[tuple[Picture, str]], *, columns: int) -> Picture:
    """Pictures with their titles in rows on white, at least one."""
    rows = [
        side_by_side(*zip(*cells[start : start + columns], strict=True))
        for start in range(0, len(cells), columns)
    ]
    gap = 8
    width = max(row.shape[1] for row in rows)
    height = sum(row.shape[0] + gap for row in rows) - gap
    sheet = np.full((height, width, 3), 255, np.uint8)
    y = 0
    for row in rows:
        sheet[y : y + row.shape[0], : row.shape[1]] = row
        y += row.shape[0] + gap
    return sheet


if __name__ == "__main__":
    main()
