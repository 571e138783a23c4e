"""Faster R-CNN for PyTorch 2: data sets, layers, networks, training, evaluation.

    import faster_rcnn as f

    run = f.train("photos", net="res50_fpn", epochs=20)
    run.test()
    result = run.detector()("photo.jpg")

See docs/python.md, and docs/inference.md for detectors.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import Run, TrainingEvent, check, evaluate, train
    from .config.loading import load_config
    from .detector import Detector, Result
    from .model.build import build_detector
    from .model.two_stage import TwoStage as FasterRCNN

__all__ = [
    "Detector",
    "FasterRCNN",
    "Result",
    "Run",
    "TrainingEvent",
    "__version__",
    "build_detector",
    "check",
    "evaluate",
    "load_config",
    "train",
]
__version__ = "0.1.0"

_PLACES = {
    "Detector": "detector",
    "FasterRCNN": "model.two_stage",
    "Result": "detector",
    "build_detector": "model.build",
    "load_config": "config.loading",
}
"""Modules of the names in ``__all__`` that `api` does not have."""


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that the package imports fast."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f".{_PLACES.get(name, 'api')}", __name__)
    value = getattr(module, "TwoStage" if name == "FasterRCNN" else name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
