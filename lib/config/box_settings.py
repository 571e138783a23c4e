"""Anchors, and the box convention."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from .section import Positive, Section


class AnchorConfig(Section):
    """Anchors (Faster R-CNN, section 3.1.1)."""

    scales: Annotated[tuple[Positive, ...], Field(min_length=1)] = (8, 16, 32)
    """Sides in units of the stride (16 px; with FPN, the stride of each level)."""
    sizes: tuple[Annotated[tuple[Positive, ...], Field(min_length=1)], ...] | None = (
        None
    )
    """Sides in pixels, in place of ``scales``: a list for each level, finest first, or
    one list for all levels."""
    ratios: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.5, 1, 2)
    """Height divided by width."""
    centre: Literal["cell", "corner"] = "cell"
    """Where a cell's anchors are centred: on the cell, or on its top left corner as in
    torchvision and Detectron2."""
    spacing: Literal["stride", "fitted"] = "stride"
    """Distance between the anchors of neighbouring cells: the stride of the level, or
    the padded image's sides divided by the map's, rounded down (torchvision)."""
    rounding: Literal["auto", "none", "sides", "corners"] = "auto"
    """Coordinates rounded to whole pixels: the sides of each ratio before scaling
    (py-faster-rcnn), the final corners (torchvision), or none. ``auto``: the sides for
    legacy boxes, else none."""

    @model_validator(mode="after")
    def _as_many_each(self) -> "AnchorConfig":
        if self.sizes is not None and len({len(sides) for sides in self.sizes}) != 1:
            raise ValueError(
                "sizes must give every level the same number of anchors; found "
                f"{[list(sides) for sides in self.sizes]}"
            )
        return self

    def level_scales(self, strides: Sequence[int]) -> list[tuple[float, ...]]:
        """Return the sides in units of the stride, for each level.

        Raises:
            ValueError: ``sizes`` has neither one list nor one for each level.
        """
        if self.sizes is None:
            return [self.scales] * len(strides)
        sizes = self.sizes * len(strides) if len(self.sizes) == 1 else self.sizes
        if len(sizes) != len(strides):
            raise ValueError(
                f"anchors.sizes: expected one list, or one for each of the "
                f"{len(strides)} levels at strides {', '.join(map(str, strides))}; "
                f"found {len(sizes)}"
            )
        return [
            tuple(side / stride for side in sides)
            for sides, stride in zip(sizes, strides, strict=True)
        ]


class BoxConfig(Section):
    """The box convention, and the scaling of regression targets."""

    offset: Literal[0, 1] = 1
    """1: legacy boxes, width x2 - x1 + 1; 0: continuous boxes, width x2 - x1."""
    nms_offset: Literal[0, 1] = 0
    """The offset used inside suppression (the PyTorch port uses 0 there)."""
    nms_inclusive: bool = False
    """Suppress at an IoU equal to the threshold too (tf-faster-rcnn's CPU kernel)."""
    delta_std: tuple[Positive, Positive, Positive, Positive] = (0.1, 0.1, 0.2, 0.2)
    """Divisors of the box head's regression targets dx, dy, dw, dh."""
    max_log_size: Positive | None = None
    """Upper limit of predicted dw and dh in RPN and head; tf-faster-rcnn has none."""
