"""First convolutions for other channels than RGB."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from .backbone import Backbone

Rule = Literal["mean", "repeat"]


def first_convolution(backbone: Backbone) -> tuple[str, nn.Conv2d]:
    """Return the layer that takes the image, and the key of its weight."""
    return next(
        (f"{name}.weight", module)
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Conv2d)
    )


def widen(backbone: Backbone, channels: int) -> None:
    """Make a new backbone take images of this many channels, with random weights."""
    _, layer = first_convolution(backbone)
    trained, shape = layer.weight.requires_grad, list(layer.weight.shape)
    layer.in_channels = shape[1] = channels
    layer.weight = nn.Parameter(layer.weight.new_empty(shape))
    layer.reset_parameters()
    layer.weight.requires_grad_(trained)


def adapt(
    state: Mapping[str, Tensor], backbone: Backbone, rule: Rule
) -> dict[str, Tensor]:
    """Return a detector's weights with the first layer for the backbone's channels.

    Normalised channels have like values, so the sum over them is what keeps the size of
    the activations: C channels get 3 / C times the weights.

    Args:
        state: weights by key, of a detector for RGB or for these channels.
        backbone: the backbone to load them into.
        rule: each channel gets the mean of the three, or one of them in turn.
    """
    name, layer = first_convolution(backbone)
    key, channels = f"backbone.{name}", layer.in_channels
    adapted, weight = dict(state), state.get(key)
    if weight is not None and weight.shape[1] == 3 != channels:
        if rule == "mean":
            wide = weight.mean(dim=1, keepdim=True).repeat(1, channels, 1, 1)
        else:
            wide = weight[:, torch.arange(channels) % 3]
        adapted[key] = wide * (3 / channels)
    return adapted
