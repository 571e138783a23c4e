"""Faster R-CNN for PyTorch 2: data sets, layers, networks, training, evaluation."""

__version__ = "0.1.0"
