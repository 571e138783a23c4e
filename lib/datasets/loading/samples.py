"""Turn records into samples: flip, resize, crop, recolour.

This is the only place where file boxes (pixel edges of the stored image) become boxes
of the network input in the configured convention.
"""

import itertools
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from ..formats.proposals import ScoredBoxes
from ..records import BoolArray, FloatArray, Record
from ..wanted_instances import Instances
from .colours import recolour
from .instances import place_keypoints, place_masks
from .masks import ObjectMask
from .orientation import read_annotated
from .resizing import Cut, choose_cut, cut_tile, resize_image, resize_scale
from .tiling import Tile
from .training_stream import Draw


class Sample(NamedTuple):
    """One image, resized, with its objects in network pixels.

    Attributes:
        pixels: ``(h, w, 3)`` RGB.
        boxes: ``(G, 4)``.
        classes: ``(G,)``.
        ignored: ``(I, 4)``, boxes of visible objects that are not trained on.
        crowd: ``(I,)``, which of those are crowd regions, or objects of which too
            little is visible.
        scale: network pixels per original pixel.
        original_size: height and width that ``scale`` refers to: of the stored image,
            or of its visible part.
        image_id: id of the image; of a mosaic, the ids of its images joined by ``+``.
        proposals: given proposals; None if the network computes its own.
        masks: G masks; None if they are not wanted.
        keypoints: ``(G, K, 3)``; None if they are not wanted.
        tile: the visible part, if the image was cut into tiles.
    """

    pixels: npt.NDArray[np.uint8]
    boxes: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int64]
    ignored: npt.NDArray[np.float32]
    crowd: npt.NDArray[np.bool_]
    scale: float
    original_size: tuple[int, int]
    image_id: str
    proposals: ScoredBoxes | None = None
    masks: tuple[ObjectMask, ...] | None = None
    keypoints: FloatArray | None = None
    tile: Tile | None = None


class Preparation(NamedTuple):
    """How images and their objects become network input.

    Attributes:
        long_side: upper limit of the longer side in pixels.
        offset: 1 for legacy boxes, 0 for continuous ones.
        size_multiple: padded height and width are multiples of this.
        use_difficult: keep VOC's difficult objects.
        min_visible: least share of its area that a crop must leave of an object.
        instances: which masks and keypoints to load.
        crop: sides of the crops of larger images, in pixels of the stored image; None
            for whole images.
    """

    long_side: int
    offset: float
    size_multiple: int = 1
    use_difficult: bool = False
    min_visible: float = 0.25
    instances: Instances = Instances()
    crop: int | None = None

    def usual(self, height: int, width: int, short_side: int) -> "Usual":
        """Return what is shown of an image of this size that nothing else changes."""
        if self.crop is None or max(height, width) <= self.crop:
            scale = resize_scale(height, width, short_side, self.long_side)
            return Usual(scale, (round(scale * height), round(scale * width)), False)
        scale = resize_scale(self.crop, self.crop, short_side, self.long_side)
        side = round(scale * self.crop)
        return Usual(scale, (side, side), True)


class Usual(NamedTuple):
    """How an image is shown if no zoom or mosaic changes it.

    Attributes:
        scale: network pixels per original pixel.
        window: height and width in network pixels.
        cropped: whether that is only a part of the image.
    """

    scale: float
    window: tuple[int, int]
    cropped: bool


def make_sample(
    record: Record,
    draw: Draw,
    preparation: Preparation,
    *,
    window: tuple[int, int] | None = None,
    proposals: ScoredBoxes | None = None,
    stored: npt.NDArray[np.uint8] | None = None,
) -> Sample:
    """Read and resize an image and its objects.

    Crowd regions are not objects; difficult objects only with ``use_difficult``.

    Args:
        record: the image.
        draw: scale, flip, colours and zoom of the image. Pixels that the zoom moves
            beyond the usual size are cropped, see `choose_cut`.
        preparation: settings that all images share.
        window: height and width to fill; the scale is raised if the image would not
            fill it. If None, the image has its usual size.
        proposals: given proposals of this image, as pixel edges.
        stored: the image, if it has been read already.

    Raises:
        ImageError: the file cannot be decoded, or does not have the annotated size.
    """
    offset, objects = preparation.offset, len(record.boxes)
    given = [] if proposals is None else [proposals.boxes]
    edges = np.concatenate([record.boxes, *given])
    if stored is None:
        stored = read_annotated(record.path, (record.width, record.height))
    pixels, edges = _mirror(stored, edges) if draw.flip else (stored, edges)
    height, width = pixels.shape[:2]
    boxes = edges - np.array([0, 0, offset, offset], dtype=np.float32)
    wanted = ~record.crowd
    if not preparation.use_difficult:
        wanted = wanted & ~record.difficult
    seen, cut_off = np.ones(len(edges), np.bool_), np.zeros(objects, np.bool_)
    cut = _choose_cut(
        (height, width), draw, preparation, window, edges[:objects][wanted]
    )
    if cut is None:
        scale = preparation.usual(height, width, draw.short_side).scale
        pixels = resize_image(pixels, scale)
        cut = Cut(0, 0, width, height, scale, pixels.shape[:2])
        boxes = (boxes * scale).astype(np.float32, copy=False)
    else:
        pixels, boxes = cut.resize(pixels), cut.move(boxes, offset=offset)
        share = cut.visible_share(edges)
        seen = (share > 0) & (boxes[:, 2:] + offset > boxes[:, :2]).all(axis=1)
        cut_off = wanted & (share[:objects] < preparation.min_visible)
        wanted = wanted & seen[:objects] & ~cut_off
    if draw.colour is not None or draw.hue:
        pixels = recolour(pixels, draw.colour or (1.0, 1.0, 1.0), hue=draw.hue)
    if proposals is not None:
        proposals = ScoredBoxes(
            boxes[objects:][seen[objects:]], proposals.scores[seen[objects:]]
        )
    boxes, seen = boxes[:objects], seen[:objects]
    masks, keypoints = _instances(
        record, wanted, cut, preparation.instances, flip=draw.flip
    )
    return Sample(
        pixels=pixels,
        boxes=boxes[wanted],
        classes=record.classes[wanted],
        ignored=boxes[seen & ~wanted],
        crowd=(record.crowd | cut_off)[seen & ~wanted],
        scale=cut.scale,
        original_size=(cut.height, cut.width),
        image_id=record.image_id,
        proposals=proposals,
        masks=masks,
        keypoints=keypoints,
        tile=draw.tile,
    )


def _choose_cut(
    size: tuple[int, int],
    draw: Draw,
    preparation: Preparation,
    window: tuple[int, int] | None,
    objects: FloatArray,
) -> Cut | None:
    """Choose the visible part of an image of this height and width; None for all.

    Args:
        size: height and width of the image.
        draw: see `make_sample`.
        preparation: see `make_sample`.
        window: see `make_sample`.
        objects: ``(G, 4)`` pixel edges of the objects to train on.
    """
    if draw.tile is not None:
        return cut_tile(draw.tile, draw.short_side, preparation.long_side)
    scale, usual, cropped = preparation.usual(*size, draw.short_side)
    if draw.zoom == 1 and window is None and not cropped:
        return None
    scale *= draw.zoom
    if window is not None:
        scale = max(scale, window[0] / size[0], window[1] / size[1])
    around = None
    if cropped and draw.focus is not None and len(objects):
        around = objects[int(draw.focus * len(objects))]
    return choose_cut(
        *size, scale=scale, window=window or usual, place=draw.place, around=around
    )


def _instances(
    record: Record, wanted: BoolArray, cut: Cut, instances: Instances, *, flip: bool
) -> tuple[tuple[ObjectMask, ...] | None, FloatArray | None]:
    """Move the masks and keypoints of some objects into the network input."""
    mirrored = record.width if flip else None
    masks, keypoints = None, None
    if instances.masks:
        own = record.masks or ((),) * len(wanted)
        masks = place_masks(list(itertools.compress(own, wanted)), cut, mirrored)
    names = instances.keypoints
    if names is not None:
        shape = (int(wanted.sum()), len(names.names), 3)
        keypoints = np.zeros(shape, np.float32)
        if record.keypoints is not None:
            keypoints = place_keypoints(
                record.keypoints[wanted], cut, mirrored, names.flip_pairs
            )
    return masks, keypoints


def _mirror(
    pixels: npt.NDArray[np.uint8], edges: FloatArray
) -> tuple[npt.NDArray[np.uint8], FloatArray]:
    """Mirror an image and the pixel edges of its boxes.

    An image is mirrored before the resize: mirroring an image of rounded width would
    shift it by a fraction of a pixel.
    """
    edges = edges.copy()
    edges[:, 0::2] = pixels.shape[1] - edges[:, 2::-2]
    return np.asarray(cv2.flip(pixels, 1), np.uint8), edges
