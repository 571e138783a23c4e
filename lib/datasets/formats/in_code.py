"""A data set given in code: image files, boxes, class names, masks and keypoints."""

import io
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..index.index_format import read_index
from ..index.index_writer import RawDataset, RawImages, pack
from ..index.indexed_records import Part, Records
from ..index.packed_masks import MaskBytes, pack_run_lengths
from ..mask_encoding import encode_masks
from ..records import Dataset, Drops, KeypointNames, RawObjects, did_you_mean
from .coco_masks import Found, mask_size, parse_polygons
from .written_keypoints import clean_keypoints, flip_pairs
from .yolo import image_ids


class AnnotatedImage(NamedTuple):
    """An image and its G objects; a plain tuple in this order will do.

    Attributes:
        path: the image file.
        boxes: ``(G, 4)`` ``x1, y1, x2, y2`` in pixel edges.
        classes: G class names.
        masks: for each object its polygons, ``(V, 2)`` pixel edges each, or ``(H, W)``
            bool of the whole image, or None; None if no object has a mask.
        keypoints: ``(G, K, 3)`` x and y in continuous pixels, where the centre of the
            first pixel is at 0.5, and visibility: 0 not labelled, 1 hidden, 2 visible;
            None if no object has keypoints.
    """

    path: Path | str
    boxes: npt.ArrayLike
    classes: Sequence[str]
    masks: Sequence[Any] | None = None
    keypoints: npt.ArrayLike | None = None


def make_dataset(
    name: str,
    images: Iterable[AnnotatedImage | tuple[Any, ...]],
    *,
    classes: Sequence[str],
    keypoints: KeypointNames | Sequence[str] | None = None,
) -> Dataset:
    """Make a data set; invalid boxes are counted and dropped as by the readers.

    Sizes are read from the images' headers. Evaluation follows VOC's rules. Invalid
    masks and keypoints are counted too, and their objects kept.

    Args:
        name: name of the data set, for example cells_train.
        images: the images, as `AnnotatedImage` says.
        classes: class names without the background, in order.
        keypoints: the K names of keypoints, whose left-right pairs are found by name,
            or names with pairs and skeleton; None for a data set without keypoints.

    Raises:
        ValueError: there are no images, one occurs twice or cannot be read, boxes,
            masks or keypoints have another form, or a class is unknown.
    """
    if keypoints is not None and not isinstance(keypoints, KeypointNames):
        keypoints = KeypointNames(tuple(keypoints), flip_pairs(keypoints))
    given = [AnnotatedImage(*image) for image in images]
    if keypoints is None and any(image.keypoints is not None for image in given):
        raise ValueError(f"{name}: found keypoints without names; give keypoints=NAMES")
    paths = [str(image.path) for image in given]
    ids = image_ids(paths)
    if not paths or len(set(ids)) < len(ids):
        raise ValueError(
            f"{name}: expected images of different names, found "
            f"{'one twice' if paths else 'none'}; correct the function's result"
        )
    boxes = [np.zeros((0, 4))]
    labels: list[int] = []
    for image in given:
        place = f"{name}: {image.path}"
        boxes.append(_boxes(image, place))
        labels += _classes(image.classes, classes, place)
    found = RawImages(Path(), lambda row: Path(paths[row]))
    for image_id, path in zip(ids, paths, strict=True):
        found.add(image_id, path, 0, 0)
    found.measure()
    drops, masks = Drops(), MaskBytes(None)
    packed = _all_masks(given, found.sizes, name, drops)
    objects = RawObjects(
        image=np.repeat(np.arange(len(paths)), [len(own) for own in boxes[1:]]),
        boxes=np.concatenate(boxes),
        classes=np.array(labels, np.int64),
        masks=masks.add(packed) if any(packed) else None,
        keypoints=_all_keypoints(given, keypoints, name, drops) if keypoints else None,
    )
    buffer = io.BytesIO()
    pack(buffer, RawDataset(found, [objects], masks, keypoints), drops)
    records = Records([Part(read_index(buffer.getvalue(), None), Path())])
    made = Dataset.with_voc_rules(name, classes, records, drops.log(name))
    return replace(made, has_masks=any(packed), keypoints=keypoints)


def _boxes(image: AnnotatedImage, place: str) -> npt.NDArray[np.float64]:
    try:
        own = np.array(image.boxes, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{place}: expected boxes of four numbers each, found others "
            f"({error}); give x1, y1, x2, y2"
        ) from None
    own = own.reshape(-1, 4) if own.size == 0 else own
    if own.shape != (len(image.classes), 4):
        raise ValueError(
            f"{place}: expected boxes (G, 4) for {len(image.classes)} class "
            f"names, found {own.shape}; give x1, y1, x2, y2 for each"
        )
    return own


def _classes(own: Sequence[str], known: Sequence[str], place: str) -> list[int]:
    class_of = {word: number for number, word in enumerate(known, start=1)}
    for word in own:
        if word not in class_of:
            raise ValueError(
                f"{place}: unknown class {word!r}{did_you_mean(word, known)}; expected "
                f"one of {', '.join(known)}"
            )
    return [class_of[word] for word in own]


def _all_masks(
    images: Sequence[AnnotatedImage],
    sizes: Sequence[tuple[int, int]],
    name: str,
    drops: Drops,
) -> list[bytes]:
    """Pack the masks of all objects, no bytes for none."""
    packed = []
    for image, size in zip(images, sizes, strict=True):
        own = [None] * len(image.classes) if image.masks is None else image.masks
        if len(own) != len(image.classes):
            raise ValueError(
                f"{name}: {image.path}: expected a mask for each of "
                f"{len(image.classes)} objects, found {len(own)}; give None where one "
                "has no mask"
            )
        for number, mask in enumerate(own, start=1):
            place = f"object {number} of {image.path}"
            faults: list[str] = []
            packed.append(_pack(mask, size, f"{name}: {place}", faults.append))
            for kind in faults:
                drops.add(kind, place)
    return packed


def _pack(mask: Any, size: tuple[int, int], place: str, found: Found) -> bytes:
    if mask is None or len(mask) == 0:
        return b""
    if isinstance(mask, np.ndarray) and mask.dtype == np.bool_ and mask.ndim == 2:
        (runs,) = encode_masks(mask[None])
        packed = pack_run_lengths(*runs) if mask.any() else b""
        if packed and mask_size(packed) != size:
            raise ValueError(
                f"{place}: expected a mask of {size[1]} x {size[0]}, height and width "
                f"of its image, found {mask.shape[0]} x {mask.shape[1]}"
            )
        return packed
    try:
        parts = [np.asarray(part, np.float32) for part in mask]
    except (TypeError, ValueError):
        parts = []
    if not parts or any(part.ndim != 2 or part.shape[1] != 2 for part in parts):
        raise ValueError(
            f"{place}: expected a list of polygons (V, 2), or bool (H, W); found "
            f"{type(mask).__name__}"
        )
    return parse_polygons([array("f", part.ravel().tolist()) for part in parts], found)


def _all_keypoints(
    images: Sequence[AnnotatedImage], names: KeypointNames, name: str, drops: Drops
) -> npt.NDArray[np.float32]:
    count = len(names.names)
    values, places = [np.zeros((0, count, 3))], []
    for image in images:
        shape = (len(image.classes), count, 3)
        own: npt.NDArray[np.float64] = np.zeros(shape)
        try:
            if image.keypoints is not None:
                own = np.array(image.keypoints, np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name}: {image.path}: keypoints: {error}") from None
        if own.size == 0 == shape[0]:
            own = np.zeros(shape)
        if own.shape != shape:
            raise ValueError(
                f"{name}: {image.path}: expected keypoints {shape} for {shape[0]} "
                f"objects and {count} names, found {own.shape}; give x, y and "
                "visibility of each"
            )
        values.append(own)
        places += [f"object {g + 1} of {image.path}" for g in range(shape[0])]
    return clean_keypoints(np.concatenate(values), places.__getitem__, drops)
