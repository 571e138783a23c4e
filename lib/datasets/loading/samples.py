"""Turn records into samples: flip, rotate, resize, crop, recolour.

This is the only place where file boxes (pixel edges of the stored image) become boxes
of the network input in the configured convention.
"""

import itertools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..formats.proposals import ScoredBoxes
from ..records import BoolArray, FloatArray, Record
from ..wanted_instances import Instances
from .channels import Pixels
from .colours import recolour
from .images import Decoded
from .instances import place_keypoints, place_masks
from .masks import ObjectMask
from .orientation import read_annotated
from .resizing import Cut, choose_cut, cut_tile, resize_image, resize_scale
from .tiling import Tile
from .training_stream import Draw
from .transforms import Transforms
from .turns import Turn


class Sample(NamedTuple):
    """One image, resized, with its objects in network pixels."""

    pixels: Pixels  # ``(h, w, 3)`` RGB, or of other channels
    boxes: npt.NDArray[np.float32]  # ``(G, 4)``
    classes: npt.NDArray[np.int64]  # ``(G,)``
    # ``(I, 4)``, boxes of visible objects that are not trained on
    ignored: npt.NDArray[np.float32]
    # ``(I,)``, which of those are crowd regions, or objects of which too little is
    # visible
    crowd: npt.NDArray[np.bool_]
    scale: float  # network pixels per original pixel
    # height and width that ``scale`` refers to: of the stored image, or of its visible
    # part
    original_size: tuple[int, int]
    image_id: str  # id of the image; of a mosaic, the ids of its images joined by ``+``
    # given proposals; None if the network computes its own
    proposals: ScoredBoxes | None = None
    masks: tuple[ObjectMask, ...] | None = None  # G masks; None if they are not wanted
    keypoints: FloatArray | None = None  # ``(G, K, 3)``; None if they are not wanted
    tile: Tile | None = None  # the visible part, if the image was cut into tiles
    lost: int = 0  # number of objects that transforms or pasting have removed


class Preparation(NamedTuple):
    """How images and their objects become network input."""

    long_side: int  # upper limit of the longer side in pixels
    offset: float  # 1 for legacy boxes, 0 for continuous ones
    size_multiple: int = 1  # padded height and width are multiples of this
    use_difficult: bool = False  # keep VOC's difficult objects
    # least share of its area that a crop must leave of an object
    min_visible: float = 0.25
    instances: Instances = Instances()  # which masks and keypoints to load
    # sides of the crops of larger images, in pixels of the stored image; None for whole
    # images
    crop: int | None = None
    # further transforms of images as stored; None for none
    transforms: Transforms | None = None
    channels: int | None = None  # channels to read as stored; None for 8-bit RGB
    # decode large JPEGs at a fraction of their size, see `reduction`
    reduced: bool = True

    def read(self, record: Record, scale: float = 1.0) -> Decoded:
        """Read an image to show it at a scale, see `read_annotated`."""
        size = record.width, record.height
        return read_annotated(record.path, size, self.channels, scale)

    def most_bytes(self, short_side: int) -> int:
        """Return the memory of the largest image, without the padding of a batch."""
        channels, depth = (3, 1) if self.channels is None else (self.channels, 4)
        return short_side * self.long_side * channels * depth

    def usual(self, height: int, width: int, short_side: int) -> "Usual":
        """Return what is shown of an image of this size that nothing else changes."""
        if self.crop is None or max(height, width) <= self.crop:
            scale = resize_scale(height, width, short_side, self.long_side)
            return Usual(scale, (round(scale * height), round(scale * width)), False)
        scale = resize_scale(self.crop, self.crop, short_side, self.long_side)
        side = round(scale * self.crop)
        return Usual(scale, (side, side), True)


class Usual(NamedTuple):
    """How an image is shown if no zoom or mosaic changes it."""

    scale: float  # network pixels per original pixel
    window: tuple[int, int]  # height and width in network pixels
    cropped: bool  # whether that is only a part of the image


def make_sample(
    record: Record,
    draw: Draw,
    preparation: Preparation,
    *,
    window: tuple[int, int] | None = None,
    proposals: ScoredBoxes | None = None,
    stored: Decoded | None = None,
) -> Sample:
    """Read and resize an image and its objects.

    Crowd regions are not objects; difficult objects only with ``use_difficult``.

    Args:
        draw: scale, flip, colours and zoom of the image. Pixels that the zoom moves
            beyond the usual size are cropped, see `choose_cut`.
        window: height and width to fill; the scale is raised if the image would not
            fill it. If None, the image has its usual size.
        proposals: given proposals of this image, as pixel edges.
        stored: the image in full, if it has been read already.

    Raises:
        ImageError: the file cannot be decoded, or does not have the annotated size.
        TransformError: a transform failed.
    """
    before, lost = Turn(record.width, record.height, draw.flip, draw.quarters), 0
    if stored is None:
        stored = preparation.read(record, _scale(before, draw, preparation, window))
    pixels, by = stored.pixels, stored.by
    if preparation.transforms is not None:
        lost = len(record.boxes)
        names = preparation.instances.keypoints
        pixels, record = preparation.transforms(pixels, record, draw.seed, names)
        lost -= len(record.boxes)
    offset, objects = preparation.offset, len(record.boxes)
    given = [] if proposals is None else [proposals.boxes]
    edges = np.concatenate([record.boxes, *given])
    # Before the resize: turning an image of rounded size would shift it by a fraction
    # of a pixel.
    shown = before._replace(width=record.width, height=record.height)
    # A reduced image may reach beyond the stored one, and so turns about another point.
    height, width = pixels.shape[:2]
    turn = shown._replace(width=by * width, height=by * height)
    pixels, edges = turn.image(pixels), turn.boxes(edges)
    boxes = edges - np.array([0, 0, offset, offset], dtype=np.float32)
    wanted = ~record.crowd
    if not preparation.use_difficult:
        wanted = wanted & ~record.difficult
    seen, cut_off = np.ones(len(edges), np.bool_), np.zeros(objects, np.bool_)
    usual = _usual_after(before, shown, preparation, draw.short_side)
    cut = _choose_cut(shown.size, draw, usual, window, edges[:objects][wanted])
    if draw.tile is not None:
        cut = cut_tile(draw.tile, draw.short_side, preparation.long_side)
    if cut is None and by == 1:
        cut = Cut.whole(*shown.size, usual.scale)
        pixels = resize_image(pixels, usual.scale)
        boxes = (boxes * usual.scale).astype(np.float32, copy=False)
    else:
        cut = (cut or Cut.whole(*shown.size, usual.scale)).aligned(by)
        pixels, boxes = cut.resize(pixels, by), cut.move(boxes, offset=offset)
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
    masks, keypoints = _instances(record, wanted, cut, preparation.instances, turn)
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
        lost=lost,
    )


def _scale(
    before: Turn,
    draw: Draw,
    preparation: Preparation,
    window: tuple[int, int] | None,
) -> float:
    """Return the scale at which an image is shown; 1 if all its pixels are needed."""
    usual = preparation.usual(*before.size, draw.short_side)
    as_stored = preparation.transforms is not None or draw.tile is not None
    if as_stored or usual.cropped or not preparation.reduced:
        return 1.0
    cut = _choose_cut(before.size, draw, usual, window, np.zeros((0, 4), np.float32))
    return usual.scale if cut is None else cut.scale


def _usual_after(
    before: Turn, turn: Turn, preparation: Preparation, short_side: int
) -> Usual:
    """Return what is shown of an image: transformed, it takes no more room than before.

    Otherwise images of a batch, which have similar shapes, would be padded a lot.
    """
    usual = preparation.usual(*before.size, short_side)
    if turn.size == before.size or usual.cropped:
        return usual
    height, width = turn.size
    scale = min(usual.window[0] / height, usual.window[1] / width)
    return usual._replace(scale=max(scale, 1 / min(turn.size)))


def _choose_cut(
    size: tuple[int, int],
    draw: Draw,
    usual: Usual,
    window: tuple[int, int] | None,
    objects: FloatArray,
) -> Cut | None:
    """Choose the visible part of an image of this height and width; None for all.

    Args:
        usual: what is shown of it without zoom and window.
        objects: ``(G, 4)`` pixel edges of the objects to train on.
    """
    scale = usual.scale
    if draw.zoom == 1 and window is None and not usual.cropped:
        return None
    scale *= draw.zoom
    if window is not None:
        scale = max(scale, window[0] / size[0], window[1] / size[1])
    around = None
    if usual.cropped and draw.focus is not None and len(objects):
        around = objects[int(draw.focus * len(objects))]
    return choose_cut(
        *size,
        scale=scale,
        window=window or usual.window,
        place=draw.place,
        around=around,
    )


def _instances(
    record: Record, wanted: BoolArray, cut: Cut, instances: Instances, turn: Turn
) -> tuple[tuple[ObjectMask, ...] | None, FloatArray | None]:
    """Move the masks and keypoints of some objects into the network input."""
    masks, keypoints = None, None
    if instances.masks:
        own = record.masks or ((),) * len(wanted)
        masks = place_masks(list(itertools.compress(own, wanted)), cut, turn)
    names = instances.keypoints
    if names is not None:
        shape = (int(wanted.sum()), len(names.names), 3)
        keypoints = np.zeros(shape, np.float32)
        if record.keypoints is not None:
            keypoints = place_keypoints(
                record.keypoints[wanted], cut, turn, names.flip_pairs
            )
    return masks, keypoints
