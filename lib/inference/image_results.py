"""Detections of batches as those of images: tiles merged, masks pasted.

Letters: N images, D detections per image, H, W height and width of an original image.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ..config.settings import BoxConfig, TestConfig
from ..datasets.loading.batches import Batch
from ..datasets.loading.tiling import Tile
from ..datasets.mask_encoding import encode_masks
from ..datasets.records import FloatArray, RunLengths
from ..evaluation.image_detections import ImageDetections
from ..layer_utils.mask_pasting import paste_masks
from ..layer_utils.structures import Detections, map_tensors, replace
from .test_time_augmentation import tiling_of
from .tiles import merge_tiles

_PIXELS = 1 << 27
"""Pixels of pasted masks that are in memory at once."""


class ImageResults:
    """Converts the detections of batches to those of images, and merges tiles.

    Args:
        boxes: the box convention.
        test: thresholds and limits; they hold for a tile and for its image.
    """

    def __init__(self, boxes: BoxConfig, test: TestConfig) -> None:
        self._boxes, self._test = boxes, test
        self._found: list[Detections] = []
        self._tiles: list[Tile] = []
        self._scales: list[float] = []

    def add(self, found: Detections, batch: Batch) -> list[ImageDetections]:
        """Return the images that a batch completes: all, but of tiles only the last.

        Args:
            found: detections of the batch, in pixels of its images or tiles.
            batch: the batch; those of an image's tiles come one after another.
        """
        sizes = batch.original_sizes
        if batch.tiles:
            host = map_tensors(found, lambda field: field.cpu())
            self._found += [_of_image(host, i) for i in range(len(host.valid))]
            self._tiles += batch.tiles
            self._scales += batch.scales.tolist()
            first, tiling = self._tiles[0], tiling_of(self._test)
            assert tiling is not None
            height, width = first.image_height, first.image_width
            if len(self._tiles) < len(tiling.tiles(height, width)):
                return []
            found = merge_tiles(
                *(self._found, self._tiles, self._scales),
                boxes=self._boxes,
                test=self._test,
            )
            self._found, self._tiles, self._scales = [], [], []
            sizes = torch.tensor([[height, width]])
        return to_image_detections(
            found,
            batch.image_ids[:1] if batch.tiles else batch.image_ids,
            sizes,
            offset=self._boxes.offset,
            whole_pixels=self._test.whole_pixel_masks,
        )


def _of_image(found: Detections, i: int) -> Detections:
    """Return the detections of image ``i``, without empty slots."""
    kept = found.valid[i]
    return map_tensors(found, lambda field: field[i : i + 1, kept])


def to_image_detections(
    detections: Detections,
    image_ids: Iterable[str],
    original_sizes: Tensor,
    *,
    offset: float,
    whole_pixels: bool = False,
    pasted: bool = False,
) -> list[ImageDetections]:
    """Remove the padding and the box convention, and paste masks into the images.

    Args:
        detections: boxes and keypoints in original pixels, masks in the frames of the
            boxes.
        image_ids: ids of the N images.
        original_sizes: ``(N, 2)`` H and W.
        offset: 1 for legacy boxes, whose far corner is the last pixel inside.
        whole_pixels: see ``layer_utils.mask_pasting.paste_probabilities``.
        pasted: whether masks are pasted already, ``(N, D, H, W)`` bool for the largest
            image.

    Returns:
        One entry per image, boxes as pixel edges.
    """
    far = torch.tensor([0, 0, offset, offset], device=detections.boxes.device)
    edges = replace(detections, boxes=detections.boxes.float() + far)
    kept = edges.valid.cpu()
    small = replace(edges, masks=None)
    host = map_tensors(small, lambda field: field.cpu())
    entries = []
    for i, (image_id, size) in enumerate(
        zip(image_ids, original_sizes.tolist(), strict=True)
    ):
        masks = None
        if edges.masks is not None:
            rows = kept[i].nonzero()[:, 0].to(edges.masks.device)
            own = edges.masks[i, rows]
            if pasted:
                masks = encode_masks(own[:, : size[0], : size[1]].cpu().numpy())
            else:
                masks = _paste(own, edges.boxes[i, rows], size, whole_pixels)
        entries.append(
            ImageDetections(
                image_id=image_id,
                boxes=host.boxes[i][kept[i]].numpy(),
                scores=host.scores[i][kept[i]].float().numpy(),
                classes=host.classes[i][kept[i]].numpy(),
                masks=masks,
                keypoints=_rows(host.keypoints, i, kept),
                features=_rows(host.features, i, kept),
                class_scores=_rows(host.class_scores, i, kept),
            )
        )
    return entries


def _rows(values: Tensor | None, image: int, kept: Tensor) -> FloatArray | None:
    """Return the values of an image's detections ``(D, ...)``, if there are any."""
    return None if values is None else values[image][kept[image]].float().numpy()


def _paste(
    masks: Tensor, boxes: Tensor, size: Sequence[int], whole_pixels: bool
) -> tuple[RunLengths, ...]:
    """Paste masks ``(D, S, S)`` with boxes ``(D, 4)`` into an image of H x W pixels."""
    height, width = size
    count = max(_PIXELS // (height * width), 1)
    found: list[RunLengths] = []
    parts = (torch.split(tensor, count) for tensor in (masks, boxes))
    for some, frames in zip(*parts, strict=True):
        # With x and y exchanged, since run lengths go down the columns.
        pasted = paste_masks(
            some.mT,
            frames[:, [1, 0, 3, 2]],
            height=width,
            width=height,
            whole_pixels=whole_pixels,
        )
        found += encode_masks(pasted.cpu().numpy().transpose(0, 2, 1))
    return tuple(found)
