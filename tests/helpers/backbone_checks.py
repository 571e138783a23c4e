"""Networks and images with values that no default hides."""

import torch
from faster_rcnn.nets.backbone import Backbone
from faster_rcnn.nets.resnet import ResNet
from torch import Tensor, nn


def randomise(module: nn.Module, seed: int = 0) -> None:
    """Give norms (statistics too) and biases values that no default hides.

    Weights are scaled to carry the image through the depth: initial ones rely on the
    norm for that, and without it biases alone would reach the end.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.weight.uniform_(0.6, 1.2, generator=generator)
                part.bias.normal_(0.0, 0.3, generator=generator)
                part.running_mean.normal_(0.0, 0.3, generator=generator)
                part.running_var.uniform_(0.6, 1.4, generator=generator)
            elif isinstance(part, nn.Conv2d | nn.Linear):
                deviation = (2 / part.weight[0].numel()) ** 0.5
                part.weight.normal_(0.0, deviation, generator=generator)
                if part.bias is not None:
                    part.bias.normal_(0.0, 0.3, generator=generator)


def images(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def load_classifier(backbone: Backbone, classifier: nn.Module) -> None:
    """Load a classification network's state strictly, less what is not used."""
    state = classifier.state_dict()
    for key in backbone.ignored_keys(state):
        del state[key]
    backbone.load_state_dict(state)


def only_map(
    backbone: Backbone, pixels: Tensor, sizes: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """The map of a backbone that has one, and the images' true sizes in it."""
    (features,), cells = backbone.feature_maps(pixels, sizes)
    return features, None if cells is None else cells[0]


def shorten(backbone: ResNet, blocks: int = 1) -> ResNet:
    """Keep the first blocks of each stage; further ones are the same code."""
    for name in ("layer1", "layer2", "layer3", "layer4"):
        stage = getattr(backbone, name)
        if isinstance(stage, nn.Sequential):  # else removed, the head of a C4 net
            setattr(backbone, name, stage[:blocks])
    return backbone
