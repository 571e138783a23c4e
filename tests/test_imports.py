"""Every module of the package, by its imports."""

import importlib
import pkgutil

import faster_rcnn
import pytest

MODULES = [
    module.name
    for module in pkgutil.walk_packages(faster_rcnn.__path__, "faster_rcnn.")
    if not module.name.endswith(".__main__")
]


def test_modules_are_found() -> None:
    assert "faster_rcnn.kernels.gpu.suppression_kernels" in MODULES
    assert "faster_rcnn.layer_utils.anchors" in MODULES


@pytest.mark.parametrize("name", MODULES)
def test_imports(name: str) -> None:
    importlib.import_module(name)
