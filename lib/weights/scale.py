"""Estimate from weights which input normalisation they were trained with.

torchvision's and Caffe's files can have the same names, but torchvision's inputs have
deviation 1 and Caffe's about 58 (0..255 without division). A net with the wrong
normalisation still runs, only badly, so this must not be left to chance.
"""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

FIRST_CONV = {
    "vgg16": "backbone.features.0",
    "mobile": "backbone.Conv2d_0.0",
    "mobile_v2": "backbone.features.0.0",
    "mobile_v3": "backbone.features.0.0",
}
_FIRST_NORM = {
    "mobile": "backbone.Conv2d_0.1",
    "mobile_v2": "backbone.features.0.1",
    "mobile_v3": "backbone.features.0.1",
}

_BOUNDARY = 58**0.5  # halfway between 1 and 58 on a logarithmic scale
_PLAUSIBLE = (0.01, 5800)
# Deviation over classes of the difference of a trained classifier's logits of two
# images.
_TRAINED_SPREAD = 3
# Of VGG16's 13 convolutions, with the 2x2 pools after these.
_VGG_CONVS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
_VGG_POOLED = (2, 7, 14, 21, 28)


def first_conv(net: str) -> str:
    """Return our key of the weight that is applied to the image."""
    return FIRST_CONV.get(net, "backbone.conv1") + ".weight"


def estimate_scale(
    net: str, state: Mapping[str, Tensor], last: Sequence[Tensor] = ()
) -> tuple[str | None, str]:
    """Estimate the deviation of the inputs that weights expect.

    Args:
        state: backbone by our keys.
        last: weight and bias of VGG16's last layer, if the file has them.

    Returns:
        ``torchvision``, ``caffe``, or None if the weights give no answer; and the
        reason in words.
    """
    if net == "vgg16":
        deviation, how = _vgg_deviation(state, last)
    else:
        deviation, how = _norm_deviation(net, state)
    if deviation is None:
        return None, how
    if not _PLAUSIBLE[0] < deviation < _PLAUSIBLE[1]:
        return None, f"{how} would mean inputs of deviation {deviation:.2g}, unlike any"
    verdict = "torchvision" if deviation < _BOUNDARY else "caffe"
    return verdict, f"{how} means inputs of deviation {deviation:.2g}"


def _norm_deviation(net: str, state: Mapping[str, Tensor]) -> tuple[float | None, str]:
    """Estimate from the variance at the first norm, after filters of known size."""
    norm = _FIRST_NORM.get(net, "backbone.bn1")
    mean, variance = state[f"{norm}.running_mean"], state[f"{norm}.running_var"]
    if (mean == 0).all() and ((variance - 1).abs() < 1e-3).all():
        return None, "the first norm has no statistics (untrained, or folded)"
    power = state[first_conv(net)].double().square().sum((1, 2, 3))
    ratio = (variance.double() / power)[power > 1e-12]  # without zero filters
    if len(ratio) == 0:
        return None, "the first convolution is zero"
    return float(ratio.median().sqrt()), "the variance of the first norm"


def _vgg_deviation(
    state: Mapping[str, Tensor], last: Sequence[Tensor]
) -> tuple[float | None, str]:
    """Estimate from logits: those of two images differ by a few units if trained."""
    biases = [state[f"backbone.features.{i}.bias"] for i in _VGG_CONVS]
    if all((bias == 0).all() for bias in biases):
        # Untrained: each layer keeps the deviation, so the first one is enough.
        norm = state[first_conv("vgg16")].double().square().sum((1, 2, 3)).median()
        gain = float(norm.sqrt())
        return (1 / gain if gain else math.inf), "the size of the first filters"
    if [tensor.shape[1:] for tensor in last] != [(4096,), ()]:
        return None, "there is no last layer to compute scores with"
    # Evaluated at the midpoint, as biases make the response less than proportional.
    spread = _vgg_spread(state, last, probe_images() * _BOUNDARY)
    if not spread > 0:  # nor NaN
        return None, "all images have the same scores"
    deviation = _BOUNDARY * _TRAINED_SPREAD / spread
    return deviation, "the spread of synthetic images' scores"


@torch.no_grad()
def _vgg_spread(
    state: Mapping[str, Tensor], last: Sequence[Tensor], x: Tensor
) -> float:
    """Compute the deviation over classes of the difference of two images' logits."""
    for i in _VGG_CONVS:
        name = f"backbone.features.{i}"
        x = F.relu(F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], 1, 1))
        x = F.max_pool2d(x, 2) if i in _VGG_POOLED else x
    x = x.flatten(1)
    for i in (0, 3):
        name = f"backbone.classifier.{i}"
        x = F.relu(F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"]))
    weight, bias = last
    first, second = F.linear(x, weight.float(), bias.float())
    return float((first - second).std())


def probe_images() -> Tensor:
    """Create two images ``(2, 3, 224, 224)`` of deviation 1, as smooth as photos."""
    angle = torch.linspace(0, 2 * math.pi, 224)
    y, x = angle[:, None], angle[None, :]
    planes = []
    for seed in range(6):
        image, channel = divmod(seed, 3)
        plane = torch.zeros(224, 224)
        for octave in range(6):
            # Amplitudes fall with frequency; channels are nearly equal.
            turn = 1.3 * octave + 2.1 * image + 0.4 * channel
            wave = torch.sin(2**octave * (math.cos(turn) * x + math.sin(turn) * y))
            plane += wave / 2**octave
        planes.append((plane - plane.mean()) / plane.std())
    return torch.stack(planes).view(2, 3, 224, 224)
