"""Records become batches: resize, flip, pad, stack.

Here, and only here, the boxes of files (pixel edges of the stored image) become boxes
of the network input in the configured convention.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..layer_utils.structures import GroundTruth, Images
from .images import read_image
from .records import Record

_Pixel = TypeVar("_Pixel", np.uint8, np.float32)

_GT_SLOTS = 8
"""Ground-truth slots come in powers of two from here, so that few shapes occur."""


class Batch(NamedTuple):
    """What one step of training or inference works on.

    Attributes:
        images: padded pixels and true sizes.
        ground_truth: objects in pixels of the network input.
        scales: ``(N,)`` float32, network pixels per original pixel.
        original_sizes: ``(N, 2)`` int64, height and width of the stored images.
        image_ids: of the N images.
        problems: files that could not be read and were replaced, with the reason.
    """

    images: Images
    ground_truth: GroundTruth
    scales: Tensor
    original_sizes: Tensor
    image_ids: tuple[str, ...]
    problems: tuple[str, ...] = ()

    def to(self, device: torch.device) -> "Batch":
        """The batch with its tensors on ``device``; copies overlap if pinned."""
        if device.type == "cpu":
            return self

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=True)

        return self._replace(
            images=self.images._replace(
                pixels=move(self.images.pixels), sizes=move(self.images.sizes)
            ),
            ground_truth=GroundTruth(*map(move, self.ground_truth)),
        )


class Sample(NamedTuple):
    """One image, resized, with its objects in network pixels."""

    pixels: npt.NDArray[np.uint8]  # (h, w, 3) RGB
    boxes: npt.NDArray[np.float32]  # (G, 4)
    classes: npt.NDArray[np.int64]  # (G,)
    scale: float
    original_size: tuple[int, int]
    image_id: str


def resize_scale(height: int, width: int, short_side: int, long_side: int) -> float:
    """Scale that brings the short side to its target unless the long one forbids it.

    The short side keeps at least one pixel, however thin the image is.

    Args:
        height: pixels of the stored image.
        width: pixels of the stored image.
        short_side: target of the shorter side in pixels.
        long_side: cap of the longer side in pixels.
    """
    scale = short_side / min(height, width)
    if round(scale * max(height, width)) > long_side:
        scale = max(long_side / max(height, width), 1 / min(height, width))
    return scale


def resize_image(pixels: npt.NDArray[_Pixel], scale: float) -> npt.NDArray[_Pixel]:
    """Resize an image bilinearly, without antialiasing, as the family does.

    The sampling step is exactly ``1 / scale``; that of a target size would be a ratio
    of rounded sizes, and the boxes would be off.

    Args:
        pixels: ``(H, W, 3)`` uint8, rounded in the end, or float32.
        scale: output pixels per input pixel.

    Returns:
        ``(round(scale * H), round(scale * W), 3)``.
    """
    if scale == 1:
        return pixels
    linear = cv2.INTER_LINEAR
    resized = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=linear)
    return resized.astype(pixels.dtype, copy=False)


def make_sample(
    record: Record,
    *,
    short_side: int,
    long_side: int,
    offset: float,
    flip: bool = False,
    colour: tuple[float, float, float] | None = None,
    use_difficult: bool = False,
) -> Sample:
    """Read and resize an image and its objects.

    Crowd regions are left out, and difficult objects unless ``use_difficult``.

    Args:
        record: the image.
        short_side: target of the shorter side in pixels.
        long_side: cap of the longer side in pixels.
        offset: 1 for legacy boxes, 0 for continuous ones.
        flip: mirror left to right.
        colour: factors of brightness, contrast and saturation.
        use_difficult: keep VOC's difficult objects.

    Raises:
        ImageError: the file cannot be decoded.
    """
    pixels = read_image(record.path)
    height, width = pixels.shape[:2]
    scale = resize_scale(height, width, short_side, long_side)
    wanted = ~record.crowd
    if not use_difficult:
        wanted = wanted & ~record.difficult
    boxes = record.boxes[wanted]
    if flip:
        # Before the resize: a mirrored image of rounded width would be off by a part of
        # a pixel.
        pixels = np.ascontiguousarray(pixels[:, ::-1])
        boxes = boxes.copy()
        boxes[:, 0::2] = width - boxes[:, 2::-2]
    pixels = resize_image(pixels, scale)
    if colour is not None:
        pixels = _recolour(pixels, colour)
    boxes = boxes - np.array([0, 0, offset, offset], dtype=np.float32)
    return Sample(
        pixels=pixels,
        boxes=(boxes * scale).astype(np.float32, copy=False),
        classes=record.classes[wanted],
        scale=scale,
        original_size=(height, width),
        image_id=record.image_id,
    )


def collate(
    samples: Sequence[Sample], *, size_multiple: int, problems: tuple[str, ...] = ()
) -> Batch:
    """Stack samples of any size into one zero-padded batch.

    Args:
        samples: N of them.
        size_multiple: padded height and width are multiples of this.
        problems: passed on.
    """
    sizes = np.array([sample.pixels.shape[:2] for sample in samples], dtype=np.int64)
    height, width = (-(-side // size_multiple) * size_multiple for side in sizes.max(0))
    # Channels last in memory, which is what the network computes in; the transposed
    # view is (N, 3, H, W).
    canvas = np.zeros((len(samples), height, width, 3), dtype=np.uint8)
    most = max(len(sample.boxes) for sample in samples)
    slots = _GT_SLOTS
    while slots < most:
        slots *= 2
    boxes = np.zeros((len(samples), slots, 4), dtype=np.float32)
    classes = np.zeros((len(samples), slots), dtype=np.int64)
    valid = np.zeros((len(samples), slots), dtype=np.bool_)
    for i, sample in enumerate(samples):
        canvas[i, : sizes[i, 0], : sizes[i, 1]] = sample.pixels
        count = len(sample.boxes)
        boxes[i, :count] = sample.boxes
        classes[i, :count] = sample.classes
        valid[i, :count] = True
    return Batch(
        images=Images(
            pixels=torch.from_numpy(canvas).permute(0, 3, 1, 2),
            sizes=torch.from_numpy(sizes),
            padded=bool((sizes != (height, width)).any()),
        ),
        ground_truth=GroundTruth(
            torch.from_numpy(boxes), torch.from_numpy(classes), torch.from_numpy(valid)
        ),
        scales=torch.tensor([s.scale for s in samples], dtype=torch.float32),
        original_sizes=torch.tensor([s.original_size for s in samples]),
        image_ids=tuple(sample.image_id for sample in samples),
        problems=problems,
    )


def _recolour(
    pixels: npt.NDArray[np.uint8], factors: tuple[float, float, float]
) -> npt.NDArray[np.uint8]:
    """Scale brightness, contrast (about the mean) and saturation (about grey)."""
    brightness, contrast, saturation = factors
    image = pixels.astype(np.float32) * brightness
    image = (image - image.mean()) * contrast + image.mean()
    grey = image @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    image = (image - grey[..., None]) * saturation + grey[..., None]
    recoloured: npt.NDArray[np.uint8] = np.clip(image, 0, 255).astype(np.uint8)
    return recoloured
