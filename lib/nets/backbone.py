"""Backbone interface: shared feature maps, and the head of a C4 network.

The shared layers compute the maps that RPN and heads share. In a C4 network, the
layers after it are the head, which runs on each pooled region.

Letters: N images in the batch, H and W of the padded input, M regions of all images, P
side of a pooled region.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..layer_utils.structures import FeatureMaps
from .layers import Norm, freeze
from .normalisation import NORMALISATIONS

Stage = tuple[Tensor, Tensor | None]  # a map, and the true sizes of the images in it

FeatureKind = Literal["c4", "dc5", "fpn"]
"""How a detector uses a classification network, cut at its strides:

c4   the map at stride 16; the layers after it are the head (Faster R-CNN on ResNet,
     He et al. 2015; VGG16, whose head is fc6 and fc7)
dc5  the last map, with a dilated last stage of stride 16 (Deformable ConvNets)
fpn  the last maps at strides 4, 8, 16 and 32, for a pyramid (FPN, section 3)
"""


class Backbone(nn.Module, ABC):
    """A classification network, or the part of it that a detector uses.

    Parameters have the names of the classification network, so that its state dict
    loads strictly without its `ignored_keys`.

    Attributes:
        kind: see `FeatureKind`.
        strides: input pixels per cell of each of its maps, finest first.
        channels: channels of each of its maps.
        head_channels: length of the vector that the head computes for one region; 0
            without a head.
        kinds: the kinds that the network supports.
        default_fixed_blocks: number of blocks that are frozen by default if pretrained.
        classifier_prefixes: key prefixes of the classifier, which is not used.
        normalisation: normalisation of the input unless the weights bring another.
        checkpointing: whether training computes blocks again in the backward pass
            (Chen et al. 2016) instead of keeping their maps.
    """

    strides: tuple[int, ...] = (16,)
    channels: tuple[int, ...]
    head_channels: int
    kinds: ClassVar[tuple[FeatureKind, ...]] = ("c4", "fpn")
    default_fixed_blocks: ClassVar[int]
    classifier_prefixes: tuple[str, ...]
    normalisation = NORMALISATIONS["torchvision"]
    checkpointing = False

    def __init__(self, kind: FeatureKind) -> None:
        """Initialise the backbone.

        Raises:
            ValueError: the kind is unknown, or this network does not support it.
        """
        super().__init__()
        if kind not in get_args(FeatureKind) or kind not in self.kinds:
            raise ValueError(
                f"features: expected {' or '.join(self.kinds)} for "
                f"{type(self).__name__}, found {kind!r}"
            )
        self.kind = kind

    def feature_maps(self, images: Tensor, sizes: Tensor | None) -> FeatureMaps:
        """Compute the feature maps that the RPN and the head share.

        Within its true size, a padded image gives the same features as the unpadded
        one. Values beyond the true size are undefined: mask them before reading across
        the edge.

        Args:
            images: ``(N, 3, H, W)`` normalised, zero where padded.
            sizes: ``(N, 2)`` int64 height and width of each image in pixels, or None
                if no image is padded.

        Returns:
            One map for each of `strides`.
        """
        stages: list[Stage] = []
        for stage in self.stages(images, sizes):
            # Finer maps are freed as soon as they are no longer needed.
            stages = [*stages, stage][-len(self.strides) :]
        maps = [features for features, _ in stages]
        cells = [size for _, size in stages if size is not None]
        return FeatureMaps(maps, cells if sizes is not None else None)

    @abstractmethod
    def stages(self, images: Tensor, sizes: Tensor | None) -> Iterator[Stage]:
        """Yield the last map at each stride, finest first, with the images' true sizes.

        The last stages are the shared maps; finer maps may precede them.
        """

    def head(self, pooled: Tensor) -> Tensor:
        """Map pooled regions ``(M, C, P, P)`` to vectors ``(M, head_channels)``.

        Only for kind c4. Regions are pooled from a shared map or a lifted one.
        """
        x = self.head_map(pooled)
        if x.requires_grad:  # the mean's gradient then lies in memory as the map does
            return x.permute(0, 2, 3, 1).mean((1, 2))
        return x.mean((2, 3))

    def head_map(self, pooled: Tensor) -> Tensor:
        """Map pooled regions to maps ``(M, head_channels, P', P')``, for masks.

        Raises:
            ValueError: the head has no convolutions.
        """
        raise ValueError(
            f"the head of a {type(self).__name__} with one map (c4) gives no maps for "
            "masks; use net.features fpn"
        )

    def lift(self, features: FeatureMaps) -> FeatureMaps | None:
        """Run the head's first layers on the maps, if they may precede pooling.

        1x1 convolutions commute with bilinear pooling, because both are linear. A map
        often has fewer cells than its regions have together.

        Returns:
            Maps to pool for `head` in place of ``features``; None if the head has no
            such layers.
        """
        return None

    def run(self, layer: Callable[..., Any], *inputs: Any) -> Any:
        """Apply a layer of the shared ones; again in the backward pass if that saves.

        See `checkpointing`.
        """
        if not (self.checkpointing and self.training and torch.is_grad_enabled()):
            return layer(*inputs)
        contexts = lambda: (nullcontext(), self._with_statistics_kept())  # noqa: E731
        # The layers draw no random numbers.
        options: dict[str, Any] = {"use_reentrant": False, "preserve_rng_state": False}
        return checkpoint(layer, *inputs, context_fn=contexts, **options)

    @contextmanager
    def _with_statistics_kept(self) -> Iterator[None]:
        """Keep the running statistics of trained norms, which saw this batch before."""
        norms = [m for m in self.modules() if isinstance(m, Norm) and m.training]
        before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
        for norm, (_, count) in zip(norms, before, strict=True):
            assert count is not None
            norm.momentum, norm.num_batches_tracked = 0.0, torch.zeros_like(count)
        try:
            yield
        finally:
            for norm, (momentum, count) in zip(norms, before, strict=True):
                norm.momentum, norm.num_batches_tracked = momentum, count

    @abstractmethod
    def blocks(self) -> Sequence[Sequence[nn.Module]]:
        """Return the shared layers by block, input first, as `freeze` counts them."""

    def freeze(self, blocks: int) -> None:
        """Stop training the first `blocks` blocks, norm statistics included.

        Raises:
            ValueError: there are fewer blocks.
        """
        groups = self.blocks()
        if not 0 <= blocks <= len(groups):
            raise ValueError(
                f"fixed blocks: expected 0 to {len(groups)} for "
                f"{type(self).__name__}, found {blocks}"
            )
        for module in (module for group in groups[:blocks] for module in group):
            freeze(module)

    def remove_head(self) -> None:
        """Remove the layers that only a C4 head uses."""
        shared = {
            id(parameter)
            for block in self.blocks()
            for module in block
            for parameter in module.parameters()
        }

        def drop(parent: nn.Module) -> None:
            for name, child in parent.named_children():
                own = {id(parameter) for parameter in child.parameters()}
                if own and not own & shared:
                    # Backbones index their layers: an empty module keeps the indices.
                    setattr(parent, name, nn.Identity())
                elif own - shared:
                    drop(child)

        drop(self)

    def ignored_keys(self, keys: Iterable[str]) -> list[str]:
        """Return the keys of a classification state dict that are not used."""
        return [key for key in keys if key.startswith(self.classifier_prefixes)]
