"""The exported computation: from padded pixels to boxes of the original image.

Letters: N images, D detections per image, H x W padded input.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from ..config.settings import BoxConfig, TestConfig
from ..datasets.loading.batches import Batch
from ..detector.about import MULTIPLE, Shape
from ..detector.file_inputs import Inputs
from ..inference.postprocess import detections_of
from ..layer_utils.mask_pasting import paste_masks
from ..layer_utils.outputs import Predictions
from ..layer_utils.structures import Detections, GroundTruth, Images, replace
from ..model.network import Network
from ..utils.device import autocast


class DetectionProgram(nn.Module):
    """A detector with its post-processing, in tensors only."""

    def __init__(
        self,
        model: Network,
        *,
        boxes: BoxConfig,
        test: TestConfig,
        padded: bool = True,
        dtype: torch.dtype = torch.float32,
        paste: bool = False,
    ) -> None:
        """Wrap a detector.

        Args:
            model: the detector; it is put into evaluation mode.
            boxes: the box convention.
            test: thresholds and limits; ``scales`` and ``flip`` have no effect.
            padded: whether images may be smaller than the input.
            dtype: type that the network computes in.
            paste: whether masks come out pasted into the original images.
        """
        super().__init__()
        self.model = model.eval()
        self.boxes = boxes
        self.test = test
        self.padded = padded
        self.dtype = dtype
        self.paste = paste

    def forward(
        self, pixels: Tensor, sizes: Tensor, scales: Tensor, original_sizes: Tensor
    ) -> tuple[Tensor, ...]:
        """Detect objects; the arguments are the fields of `Inputs`.

        Returns:
            The fields of ``Detections`` that the detector has: boxes ``(N, D, 4)`` as
            pixel edges of each original image, scores ``(N, D)``, classes and valid,
            best first; unused slots are zero. Masks are ``(N, D, S, S)`` probabilities
            in the frames of the boxes; or, pasted, bool ``(N, D, H, W)`` with the
            largest H and W of the original images. Keypoints are ``(N, D, K, 3)``: x
            and y in continuous pixels of the original image, and score.
        """
        images = Images(pixels, sizes, self.padded)
        with autocast(pixels.device, self.dtype):
            predictions = self.model(images)
        assert isinstance(predictions, Predictions)
        nothing = pixels.new_zeros((0,))
        batch = Batch(
            images,
            GroundTruth(boxes=nothing, classes=nothing, valid=nothing),
            scales,
            original_sizes,
            image_ids=(),
        )
        found = detections_of(
            self.model, predictions, batch, boxes=self.boxes, test=self.test
        )
        # A legacy box ends on its last pixel; files speak of edges.
        far = torch.tensor([0, 0, self.boxes.offset, self.boxes.offset])
        far = found.valid[:, :, None] * far.to(found.boxes)
        edges = replace(found, boxes=found.boxes + far)
        if self.paste and edges.masks is not None:
            masks = _pasted(edges, original_sizes, self.test.whole_pixel_masks)
            edges = replace(edges, masks=masks)
        return tuple(field for field in edges if field is not None)


def _pasted(found: Detections, sizes: Tensor, whole_pixels: bool) -> Tensor:
    """Paste masks into images of ``sizes (N, 2)``, the smaller ones padded."""
    assert found.masks is not None
    height, width = sizes.amax(dim=0).tolist()
    # Sizes come from the values of an input here, which a trace is told to accept.
    torch._check(height > 0)
    torch._check(width > 0)
    pasted = paste_masks(
        found.masks.flatten(0, 1),
        found.boxes.flatten(0, 1),
        height=height,
        width=width,
        whole_pixels=whole_pixels,
    )
    rows, columns = (
        torch.arange(side, device=sizes.device) for side in (height, width)
    )
    inside = (rows[:, None] < sizes[:, 0, None, None]) & (
        columns < sizes[:, 1, None, None]
    )  # (N, H, W)
    kept = inside[:, None] & found.valid[:, :, None, None]
    return pasted.view(*found.valid.shape, height, width) & kept


def input_multiple(size_multiple: int, strides: Sequence[int]) -> int:
    """Return what free H and W are multiples of, for maps of these strides.

    A pyramid's coarsest map is every other cell of the one before, and PyTorch before
    2.14 cannot trace that where a row is left over.
    """
    return math.lcm(size_multiple, MULTIPLE, *strides)


def example_inputs(shape: Shape, device: torch.device) -> Inputs:
    """Create noise of a permitted shape, for tracing."""
    images = shape.batch or 2
    # Unequal, so that no two dynamic sizes are mistaken for one.
    step = math.lcm(MULTIPLE, shape.multiple)
    height, width = shape.size or (8 * step, 10 * step)
    generator = torch.Generator().manual_seed(0)
    channels = shape.channels or 3
    pixels = torch.randint(
        0, 256, (images, channels, height, width), generator=generator
    )
    kind = torch.uint8 if shape.channels is None else torch.float32
    size = torch.tensor([[height, width]]).repeat(images, 1)
    inputs = Inputs(pixels.to(kind), size, torch.ones(images), size.clone())
    return Inputs(*(tensor.to(device) for tensor in inputs))


def dynamic_shapes(shape: Shape) -> dict[str, Any] | None:
    """Return the free sizes in the form of ``torch.export``; None for none."""
    free: dict[int, Any] = {}
    if shape.batch is None:
        free[0] = Dim.DYNAMIC
    of_pixels = dict(free)
    if shape.size is None:
        least = shape.least // shape.multiple
        of_pixels[2] = shape.multiple * Dim("rows", min=least)
        of_pixels[3] = shape.multiple * Dim("columns", min=least)
    if not of_pixels:
        return None
    return {"pixels": of_pixels, **dict.fromkeys(Inputs._fields[1:], free)}
