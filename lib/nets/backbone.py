"""What every backbone offers: shared feature maps, and C4's head of each region.

Letters: N images in the batch, H and W of the padded input, M regions of all images, P
side of a pooled region.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, Literal, get_args

from torch import Tensor, nn

from ..layer_utils.structures import FeatureMaps
from .layers import Norm

Stage = tuple[Tensor, Tensor | None]  # a map and the images' true sizes in it

FeatureKind = Literal["c4", "dc5", "fpn"]
"""What a detector takes of a classification network, cut at its strides:

c4   the map at stride 16; what follows is the head of each region (Faster R-CNN on
     ResNet, He et al. 2015; VGG16, whose head is fc6 and fc7)
dc5  the last map, its stage dilated so that the stride is 16 (Deformable ConvNets)
fpn  the last maps at strides 4, 8, 16 and 32, for a pyramid (FPN, section 3)
"""


class Backbone(nn.Module, ABC):
    """A classification network, or as much of it as a detector takes.

    Parameters have the names of the classification network, so its state dict loads
    strictly once `ignored_keys` are left out.

    Attributes:
        kind: see `FeatureKind`.
        strides: input pixels per cell of each map of the trunk, finest first.
        channels: of each map of the trunk.
        head_channels: of the vector that the head makes of one region; 0 without one.
        kinds: what the network can be cut for.
        default_fixed_blocks: how many blocks the family freezes when pretrained.
        classifier_prefixes: starts of the keys of the classifier, not used here.
    """

    strides: tuple[int, ...] = (16,)
    channels: tuple[int, ...]
    head_channels: int
    kinds: ClassVar[tuple[FeatureKind, ...]] = ("c4", "fpn")
    default_fixed_blocks: ClassVar[int]
    classifier_prefixes: tuple[str, ...]

    def __init__(self, kind: FeatureKind) -> None:
        """Start a backbone.

        Raises:
            ValueError: there is no such kind, or not for this network.
        """
        super().__init__()
        if kind not in get_args(FeatureKind) or kind not in self.kinds:
            raise ValueError(
                f"features: expected {' or '.join(self.kinds)} for "
                f"{type(self).__name__}, found {kind!r}"
            )
        self.kind = kind

    def trunk(self, images: Tensor, sizes: Tensor | None) -> FeatureMaps:
        """Compute the feature maps that the proposals and the head share.

        A padded image gives the features of the bare one within its true size. What
        lies beyond that is undefined: mask it before looking across the border.

        Args:
            images: ``(N, 3, H, W)`` normalised, zero where padded.
            sizes: ``(N, 2)`` int64 height and width of each image in pixels, or None
                if no image is padded.

        Returns:
            One map for each of `strides`.
        """
        stages: list[Stage] = []
        for stage in self.stages(images, sizes):
            # What is not needed any more is let go.
            stages = [*stages, stage][-len(self.strides) :]
        maps = [features for features, _ in stages]
        cells = [size for _, size in stages if size is not None]
        return FeatureMaps(maps, cells if sizes is not None else None)

    @abstractmethod
    def stages(self, images: Tensor, sizes: Tensor | None) -> Iterator[Stage]:
        """The last map at each stride, finest first, and the images' true sizes in it.

        Its last ones are the trunk's; there may be finer ones before.
        """

    @abstractmethod
    def head(self, pooled: Tensor) -> Tensor:
        """Map pooled regions ``(M, C, P, P)`` to vectors ``(M, head_channels)``.

        Only of the kind c4. Regions of a trunk's map or of a lifted one.
        """

    def lift(self, features: FeatureMaps) -> FeatureMaps | None:
        """What the head's first layers make of the maps, where they may go first.

        1x1 convolutions commute with bilinear pooling, both being linear. A map has
        often fewer cells than its regions together.

        Returns:
            Maps for `head` to be pooled in place of ``features``; None if the head has
            no such layers.
        """
        return None

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
