"""Weights of other origin: recognised by content, loaded strictly, written back."""

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
