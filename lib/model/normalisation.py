"""The input that pretrained weights expect.

The network always takes RGB: weights that were trained on BGR are turned around when
they are read, so that only mean and deviation tell one kind from another. A detector
keeps both in its state dict, and therefore in every checkpoint.
"""

from typing import NamedTuple


class Normalisation(NamedTuple):
    """What turns 0..255 RGB pixels into network input: ``(pixel - mean) / std``."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


NORMALISATIONS = {
    # RGB in 0..1 by mean and deviation (torchvision's classification models).
    "torchvision": Normalisation((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    # Caffe's VGG16 and the ResNets of its authors, as the family uses them.
    "caffe": Normalisation((122.7717, 115.9465, 102.9801), (1.0, 1.0, 1.0)),
    # Detectron2's MSRA ResNets: the same, but for the mean.
    "detectron2": Normalisation((123.675, 116.28, 103.53), (1.0, 1.0, 1.0)),
}
