"""Import, check, load and write weights of this and other programs."""

from .imported import ImportedWeights
from .initial import load_initial_weights, load_weights
from .recognition import import_weights, recognise_weights

__all__ = [
    "ImportedWeights",
    "import_weights",
    "load_initial_weights",
    "load_weights",
    "recognise_weights",
]
