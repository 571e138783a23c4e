"""Faster R-CNN for PyTorch 2: data sets, layers, networks, training, evaluation.

``from faster_rcnn import Detector`` opens a trained detector; see docs/inference.md.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .detector import Detector, Result

__all__ = ["Detector", "Result", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import Detector and Result on first use: tools that need no network stay fast."""
    if name in ("Detector", "Result"):
        from . import detector

        return getattr(detector, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
