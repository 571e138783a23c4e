"""Test-time augmentation: views of test images, and the merging of their boxes.

A view is an image at one scale, as stored or mirrored. Each scale is resized from the
stored pixels, as a batch of its own; the device mirrors these batches.

Letters: N images, R RoIs per image, C classes, H, W of the padded network input.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..config.settings import BoxConfig, Config, DataConfig, TestConfig
from ..datasets.formats.proposals import GivenProposals
from ..datasets.loading.batches import Batch
from ..datasets.loading.loader import Loading
from ..datasets.loading.tiling import Tiling
from ..datasets.records import Record
from ..layer_utils.box_fusion import weighted_boxes_fusion
from ..layer_utils.detections import suppress, suppress_softly
from ..layer_utils.outputs import Predictions
from ..layer_utils.structures import Detections, Images, Proposals, join
from ..nms import Suppression
from ..nms.soft_nms import Decay, GaussianDecay, LinearDecay
from .ordered_batches import ordered_batches


def view_sizes(data: DataConfig, test: TestConfig) -> list[tuple[int, int]]:
    """Return short side and limit of the long side of each scale, the default first."""
    usual, cap = data.test_short_side, data.test_long_side
    sides = dict.fromkeys((usual, *test.scales))  # each once
    return [(side, round(cap * side / usual)) for side in sides]


def tiling_of(test: TestConfig) -> Tiling | None:
    """Return how a test cuts images into tiles; None if it does not."""
    if test.tiles is None:
        return None
    return Tiling(test.tiles, test.tile_overlap, test.tile_whole)


def view_batches(
    records: Sequence[Record],
    config: Config,
    *,
    pin_memory: bool = False,
    share: tuple[int, int] = (0, 1),
    proposals: GivenProposals | None = None,
) -> Iterator[tuple[Batch, ...]]:
    """Yield every test image once, at all scales and in tiles, for `detect_images`.

    Args:
        records: the test set.
        config: configuration of the run.
        pin_memory: page-lock the tensors for faster copies to a GPU.
        share: see ``evaluation_batches``.
        proposals: see ``evaluation_batches``.

    Yields:
        One batch per scale, of the same images in the same order.

    Raises:
        ImageError: a file cannot be read.
    """
    sizes = view_sizes(config.data, config.test)
    loading = Loading(-(-config.data.workers // len(sizes)), pin_memory)
    return zip(
        *(
            ordered_batches(
                records,
                config,
                loading=loading,
                share=share,
                size=size,
                proposals=proposals,
                tiling=tiling_of(config.test),
            )
            for size in sizes
        ),
        strict=True,
    )


def mirror(images: Images) -> Images:
    """Mirror images left to right, each within its own width."""
    columns = torch.arange(images.pixels.shape[3], device=images.pixels.device)
    widths = images.sizes[:, 1:]  # (N, 1)
    source = torch.where(columns < widths, widths - 1 - columns, columns)  # (N, W)
    pixels = images.pixels.take_along_dim(source[:, None, None], dim=3)
    # Use the loader's memory format, so that one compiled network fits both.
    channels_last = pixels.contiguous(memory_format=torch.channels_last)
    return images._replace(pixels=channels_last)


def mirror_proposals(
    proposals: Proposals, sizes: Tensor, *, offset: float
) -> Proposals:
    """Convert proposals of images to those of the mirrored images, or back.

    Args:
        proposals: in pixels of the network input.
        sizes: see `unmirror`.
        offset: see `unmirror`.
    """
    return proposals._replace(boxes=mirror_boxes(proposals.boxes, sizes, offset=offset))


def mirror_boxes(boxes: Tensor, sizes: Tensor, *, offset: float) -> Tensor:
    """Convert boxes ``(N, R, 4)`` to those of the mirrored images, or back.

    Args:
        boxes: in pixels of the network input.
        sizes: see `unmirror`.
        offset: see `unmirror`.
    """
    x1, y1, x2, y2 = boxes.unbind(-1)
    last = sizes[:, 1:].to(x1.dtype) - offset  # (N, 1)
    return torch.stack((last - x2, y1, last - x1, y2), dim=-1)


def unmirror(predictions: Predictions, sizes: Tensor, *, offset: float) -> Predictions:
    """Convert predictions of mirrored images to predictions of the images themselves.

    RoIs and deltas are mirrored before decoding: legacy decoding puts the far corner
    one pixel too far, which must happen on the same side in all views.

    Args:
        predictions: boxes in pixels of the network input.
        sizes: ``(N, 2)`` height and width of each image in that input.
        offset: 1 for legacy boxes, whose columns become x' = w - 1 - x; 0 for
            continuous ones, whose edges become x' = w - x.
    """
    dx, dy, dw, dh = predictions.pred_deltas.unbind(-1)
    return predictions._replace(
        proposals=mirror_proposals(predictions.proposals, sizes, offset=offset),
        pred_deltas=torch.stack((-dx, dy, dw, dh), dim=-1),
    )


def merge_views(
    views: Sequence[Detections], *, boxes: BoxConfig, test: TestConfig
) -> Detections:
    """Merge the candidates of all views to one box per object, by ``test.suppression``.

    NMS and Soft-NMS treat the candidates of all views as those of one view. Weighted
    boxes fusion averages the boxes that NMS keeps of each view.

    Args:
        views: candidates of the same images, in original pixels.
        boxes: the box convention.
        test: thresholds and limits.

    Returns:
        Detections, best first.
    """
    if test.suppression == "weighted":
        return weighted_boxes_fusion(
            _together([_suppress(view, boxes, test) for view in views]),
            views=len(views),
            threshold=test.fusion_threshold,
            max_detections=test.detections_per_image,
            min_score=test.least_score,
            offset=boxes.nms_offset,
        )
    if test.suppression == "nms":
        return _suppress(_together(views), boxes, test)
    decay: Decay = GaussianDecay(test.soft_sigma)
    if test.suppression == "soft_linear":
        decay = LinearDecay(test.soft_threshold)
    return suppress_softly(
        _together(views),
        decay=decay,
        max_detections=test.detections_per_image,
        min_score=test.least_score,
        offset=boxes.nms_offset,
    )


def _suppress(found: Detections, boxes: BoxConfig, test: TestConfig) -> Detections:
    rule = Suppression(test.nms_threshold, boxes.nms_offset, boxes.nms_inclusive)
    return suppress(found, rule, max_detections=test.detections_per_image)


def _together(views: Sequence[Detections]) -> Detections:
    """Concatenate the boxes of all views."""
    return join(views, dim=1)
