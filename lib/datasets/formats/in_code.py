"""A data set given in code: image files, boxes and class names."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..index.index_format import read_index
from ..index.index_writer import RawImages, pack
from ..index.indexed_records import Part, Records
from ..records import Dataset, Drops, RawObjects, did_you_mean
from .yolo import image_ids

Sample = tuple[Path | str, npt.ArrayLike, Sequence[str]]


def make_dataset(
    name: str, images: Iterable[Sample], *, classes: Sequence[str]
) -> Dataset:
    """Make a data set; invalid boxes are counted and dropped as by the readers.

    Sizes are read from the images' headers. Evaluation follows VOC's rules.

    Args:
        name: name of the data set, for example cells_train.
        images: for each image, its file, ``(G, 4)`` boxes ``x1, y1, x2, y2`` in pixel
            edges, and G class names.
        classes: class names without the background, in order.

    Raises:
        ValueError: there are no images, one occurs twice or cannot be read, boxes are
            not ``(G, 4)`` numbers, or a class is unknown.
    """
    class_of = {known: number for number, known in enumerate(classes, start=1)}
    paths: list[str] = []
    boxes = [np.zeros((0, 4))]
    labels: list[int] = []
    for path, own_boxes, own_classes in images:
        try:
            own = np.array(own_boxes, np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{name}: {path}: expected boxes of four numbers each, found others "
                f"({error}); give x1, y1, x2, y2"
            ) from None
        own = own.reshape(-1, 4) if own.size == 0 else own
        if own.shape != (len(own_classes), 4):
            raise ValueError(
                f"{name}: {path}: expected boxes (G, 4) for {len(own_classes)} class "
                f"names, found {own.shape}; give x1, y1, x2, y2 for each"
            )
        for wanted in own_classes:
            if wanted not in class_of:
                raise ValueError(
                    f"{name}: {path}: unknown class {wanted!r}"
                    f"{did_you_mean(wanted, classes)}; expected one of "
                    f"{', '.join(classes)}"
                )
        paths.append(str(path))
        boxes.append(own)
        labels += [class_of[wanted] for wanted in own_classes]
    ids = image_ids(paths)
    if not paths or len(set(ids)) < len(ids):
        raise ValueError(
            f"{name}: expected images of different names, found "
            f"{'one twice' if paths else 'none'}; correct the function's result"
        )
    found = RawImages(Path(), lambda row: Path(paths[row]))
    for image_id, path in zip(ids, paths, strict=True):
        found.add(image_id, path, 0, 0)
    found.measure()
    objects = RawObjects(
        image=np.repeat(np.arange(len(paths)), [len(own) for own in boxes[1:]]),
        boxes=np.concatenate(boxes),
        classes=np.array(labels, np.int64),
    )
    buffer, drops = io.BytesIO(), Drops()
    pack(buffer, found, [objects], drops, closing=0.0, facts={})
    records = Records([Part(read_index(buffer.getvalue(), None), Path())])
    return Dataset.with_voc_rules(name, classes, records, drops.log(name))
