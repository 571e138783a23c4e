"""Anchors, and what a box measures."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from .section import Positive, Section


class AnchorConfig(Section):
    """Anchors (Faster R-CNN, section 3.1.1)."""

    scales: Annotated[tuple[Positive, ...], Field(min_length=1)] = (8, 16, 32)
    """Sides in units of the stride (16 px; with FPN, that of each level)."""
    sizes: tuple[Annotated[tuple[Positive, ...], Field(min_length=1)], ...] | None = (
        None
    )
    """Sides in pixels in place of ``scales``: a list for each level, finest first, or a
    single one for all."""
    ratios: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.5, 1, 2)
    """Height divided by width."""
    centre: Literal["cell", "corner"] = "cell"
    """Where a cell's anchors lie: around its middle, or around its top left corner as
    in torchvision and Detectron2."""
    rounding: Literal["auto", "none", "sides", "corners"] = "auto"
    """What is whole pixels: the sides of each ratio before scaling (py-faster-rcnn),
    the final corners (torchvision), or nothing. ``auto``: sides if legacy."""

    @model_validator(mode="after")
    def _as_many_each(self) -> "AnchorConfig":
        if self.sizes is not None and len({len(sides) for sides in self.sizes}) != 1:
            raise ValueError(
                "sizes must give every level as many anchors; found "
                f"{[list(sides) for sides in self.sizes]}"
            )
        return self

    def level_scales(self, strides: Sequence[int]) -> list[tuple[float, ...]]:
        """Sides in units of the stride, for each level.

        Raises:
            ValueError: ``sizes`` are of another number of levels.
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
    """What a box measures, and how regression targets are scaled."""

    offset: Literal[0, 1] = 1
    """1: legacy boxes, width x2 - x1 + 1; 0: continuous boxes, width x2 - x1."""
    nms_offset: Literal[0, 1] = 0
    """The same, inside suppression only (the PyTorch port uses 0 there)."""
    nms_inclusive: bool = False
    """Suppress at an IoU equal to the threshold too (tf-faster-rcnn's CPU kernel)."""
    delta_std: tuple[Positive, Positive, Positive, Positive] = (0.1, 0.1, 0.2, 0.2)
    """The head's targets dx, dy, dw, dh are divided by these."""
    max_log_size: Positive | None = None
    """Upper limit of predicted dw, dh in RPN and head; none in the family."""
