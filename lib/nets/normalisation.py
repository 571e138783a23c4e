"""The input normalisation that pretrained weights expect.

The network always takes RGB: weights trained on BGR are converted when they are read,
so that only mean and deviation differ between kinds. A detector keeps both in its state
dict, and therefore in every checkpoint.
"""

from typing import NamedTuple


class Normalisation(NamedTuple):
    """Mean and deviation of each channel: the input is ``(pixel - mean) / std``.

    They are of 0..255 RGB, or of channels as stored (``net.pixel_mean``).
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


NORMALISATIONS = {
    # RGB in 0..1 by mean and deviation (torchvision's classification models).
    "torchvision": Normalisation((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    # VGG16 and ResNets from Caffe, as tf-faster-rcnn and its ports use them.
    "caffe": Normalisation((122.7717, 115.9465, 102.9801), (1.0, 1.0, 1.0)),
    # Detectron2's MSRA ResNets: Caffe's, with another mean.
    "detectron2": Normalisation((123.675, 116.28, 103.53), (1.0, 1.0, 1.0)),
}


def of_pixels(
    kind: str,
    usual: Normalisation,
    given: tuple[tuple[float, ...], tuple[float, ...]] | None,
) -> Normalisation:
    """Return the given normalisation, or that of a kind; "auto" is the net's usual."""
    if given is not None:
        return Normalisation(*given)
    return NORMALISATIONS.get(kind, usual)
