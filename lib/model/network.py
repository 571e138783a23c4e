"""The base class of all detectors: input, feature maps, losses and predictions."""

import torch
from torch import Tensor, nn

from ..kernels.convolution import clear_beyond
from ..layer_utils.outputs import Predictions, TrainOutput
from ..layer_utils.structures import (
    Detections,
    FeatureMaps,
    GroundTruth,
    Images,
    Proposals,
)
from ..nets.backbone import Backbone
from ..nets.fpn import FeaturePyramid
from ..nets.normalisation import Normalisation
from ..nets.roi_features import RoIFeatures

OF_A_RUN = ("dense_head.positives.value",)
NOT_WEIGHTS = ("pixel_mean", "pixel_std", *OF_A_RUN)
"""Keys of state dicts that no file of weights of another program has."""


class Network(nn.Module):
    """A detector: `TwoStage` or `OneStage`.

    Code outside this folder uses the attributes below, and does not test the class.

    Args:
        backbone: computes the feature maps.
        neck: pyramid over the backbone's maps; None to use the maps themselves.
        normalisation: normalisation of the input pixels.

    Attributes:
        pixel_mean: ``(C, 1, 1)`` mean of the input, by channel. Part of the state dict,
            like ``pixel_std``, so that weights keep the normalisation they need.
        pixel_std: ``(C, 1, 1)`` standard deviation, of RGB in 0..255 by default.
        detects: whether the detector predicts classes; if not, only proposals.
        reads_proposals: whether the detector needs proposals as an input.
        masks_padding: whether padding stays zero in every layer, and without anchors.
        regions: turns boxes into vectors for the predictor; None without a box head.
        keeps_features: whether predictions hold the feature maps in any case.
        timed: methods that a profile times in a training step, and their stages. Any
            module may have some, of its own or of an attribute ("regions.pool").
    """

    pixel_mean: Tensor
    pixel_std: Tensor
    masks_padding = True
    detects = True
    reads_proposals = False
    regions: RoIFeatures | None = None
    keeps_features = False
    timed = (("features", "backbone"),)

    def __init__(
        self,
        backbone: Backbone,
        neck: FeaturePyramid | None,
        *,
        normalisation: Normalisation,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pyramid = neck
        self.register_buffer(
            "pixel_mean", torch.tensor(normalisation.mean)[:, None, None]
        )
        self.register_buffer(
            "pixel_std", torch.tensor(normalisation.std)[:, None, None]
        )

    def forward(
        self,
        images: Images,
        ground_truth: GroundTruth | None = None,
        generator: torch.Generator | None = None,
        proposals: Proposals | None = None,
    ) -> TrainOutput | Predictions | Proposals:
        """Return losses if ground truth is given, else predictions.

        Args:
            images: the batch.
            ground_truth: objects of the same images, for training.
            generator: random number generator for sampling, on the images' device; if
                None, PyTorch's default.
            proposals: proposals of the same images, in pixels of the network input, for
                a detector that ``reads_proposals``.

        Returns:
            Losses, or predictions, or proposals for a detector without heads.

        Raises:
            ValueError: the detector needs proposals, and ``proposals`` is None.
        """
        output, found = self.run(
            images, ground_truth, generator, proposals, predict=ground_truth is None
        )
        result = found if output is None else output
        assert result is not None
        return result

    def run(
        self,
        images: Images,
        ground_truth: GroundTruth | None,
        generator: torch.Generator | None,
        proposals: Proposals | None,
        *,
        predict: bool,
    ) -> tuple[TrainOutput | None, Predictions | Proposals | None]:
        """Compute losses, predictions or both from one pass; see `forward`.

        Returns:
            Losses, None without ground truth; and predictions, None unless requested.
        """
        raise NotImplementedError

    def propose(self, images: Images) -> Proposals:
        """Compute only the proposals.

        Raises:
            ValueError: the detector computes no proposals.
        """
        raise ValueError(f"{type(self).__name__} computes no proposals")

    def finish(self, predictions: Predictions, found: Detections) -> Detections:
        """Run the heads on final boxes: detections in pixels of the network input."""
        return found

    def settle(self, output: TrainOutput) -> None:
        """Update running values from the counts of a whole update, after backward."""

    def features(self, images: Images) -> FeatureMaps:
        """Compute the feature maps that the RPN and the heads share."""
        sizes = images.sizes if images.padded else None
        pixels = (images.pixels.float() - self.pixel_mean) / self.pixel_std
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        if sizes is not None:
            clear_beyond(pixels, sizes)
        sizes = sizes if self.masks_padding else None
        features = self.backbone.feature_maps(pixels, sizes)
        return features if self.pyramid is None else self.pyramid(features)

    @property
    def strides(self) -> tuple[int, ...]:
        """Return the stride of each feature map, finest first."""
        return tuple((self.pyramid or self.backbone).strides)

    def shared_keys(self) -> set[str]:
        """Return the state dict keys of the layers that all stages share."""
        shared = nn.ModuleList(m for block in self.backbone.blocks() for m in block)
        if self.pyramid is not None:
            shared.append(self.pyramid)
        tensors = {id(tensor) for tensor in shared.state_dict(keep_vars=True).values()}
        state = self.state_dict(keep_vars=True)
        keys = {key for key, tensor in state.items() if id(tensor) in tensors}
        return keys | {"pixel_mean", "pixel_std"}
