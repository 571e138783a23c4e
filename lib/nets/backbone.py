"""What every backbone offers: a shared trunk and a head per region (paper, section 3).

Letters: N images in the batch, C trunk channels, H and W of the padded input, M regions
of all images, P side of a pooled region.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar

from torch import Tensor, nn

from .layers import Norm


class Backbone(nn.Module, ABC):
    """A classification network cut in two at stride 16.

    Parameters have the names of the classification network, so its state dict loads
    strictly once `ignored_keys` are left out.

    Attributes:
        stride: input pixels per cell of the trunk's feature map.
        channels: of the trunk's feature map.
        head_channels: of the vector that the head makes of one region.
        default_fixed_blocks: how many blocks the family freezes when pretrained.
        classifier_prefixes: starts of the keys of the classifier, not used here.
    """

    stride: int = 16
    channels: int
    head_channels: int
    default_fixed_blocks: ClassVar[int]
    classifier_prefixes: ClassVar[tuple[str, ...]]

    @abstractmethod
    def trunk(
        self, images: Tensor, sizes: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Compute the feature map that the proposals and the head share.

        A padded image gives the features of the bare one within its true size. What
        lies beyond that is undefined: mask it before looking across the border.

        Args:
            images: ``(N, 3, H, W)`` normalised, zero where padded.
            sizes: ``(N, 2)`` int64 height and width of each image in pixels, or None
                if no image is padded.

        Returns:
            Features ``(N, C, H', W')`` and their true sizes ``(N, 2)`` in cells, None
            if `sizes` is.
        """

    @abstractmethod
    def head(self, pooled: Tensor) -> Tensor:
        """Map pooled regions ``(M, C, P, P)`` to vectors ``(M, head_channels)``."""

    @abstractmethod
    def blocks(self) -> Sequence[Sequence[nn.Module]]:
        """The trunk's modules by block, input first, as `freeze` counts them."""

    def freeze(self, blocks: int) -> None:
        """Stop training the first `blocks` blocks, norm statistics included.

        Raises:
            ValueError: the trunk has fewer blocks.
        """
        groups = self.blocks()
        if not 0 <= blocks <= len(groups):
            raise ValueError(
                f"fixed blocks: expected 0 to {len(groups)} for "
                f"{type(self).__name__}, found {blocks}"
            )
        for module in (module for group in groups[:blocks] for module in group):
            module.requires_grad_(False)
            for part in module.modules():
                if isinstance(part, Norm):
                    part.freeze()

    def ignored_keys(self, keys: Iterable[str]) -> list[str]:
        """Those of a classification network's state dict keys that are not used."""
        return [key for key in keys if key.startswith(self.classifier_prefixes)]
