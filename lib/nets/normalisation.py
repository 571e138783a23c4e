"""The input normalisation that pretrained weights expect.

The network always takes RGB: weights trained on BGR are converted when they are read,
so that only mean and deviation differ between kinds. A detector keeps both in its state
dict, and therefore in every checkpoint.
"""

from typing import NamedTuple


class Normalisation(NamedTuple):
    """Mean and deviation of 0..255 RGB pixels: input is ``(pixel - mean) / std``."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


NORMALISATIONS = {
    # RGB in 0..1 by mean and deviation (torchvision's classification models).
    "torchvision": Normalisation((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    # VGG16 and ResNets from Caffe, as tf-faster-rcnn and its ports use them.
    "caffe": Normalisation((122.7717, 115.9465, 102.9801), (1.0, 1.0, 1.0)),
    # Detectron2's MSRA ResNets: Caffe's, with another mean.
    "detectron2": Normalisation((123.675, 116.28, 103.53), (1.0, 1.0, 1.0)),
}
