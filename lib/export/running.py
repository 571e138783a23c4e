"""Exported files, loaded and called like the detector."""

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..detector import Result
from ..inference.postprocess import to_image_detections
from ..layer_utils.structures import Detections
from .about import About
from .export_error import INSTALL, ExportError
from .photos import Picture, make_inputs
from .program import Inputs


class Exported:
    """A detector loaded from an exported file; `about` holds the file's facts."""

    def __init__(
        self, about: About, call: Callable[[Inputs], Sequence[Tensor]]
    ) -> None:
        self.about = about
        self._call = call

    def __call__(self, inputs: Inputs) -> Detections:
        """Detect objects in inputs of a permitted shape, from `photos.make_inputs`.

        Boxes are pixel edges of each original image, best first; masks and keypoints
        are as `DetectionProgram.forward` describes them.
        """
        found = zip(self.about.outputs, self._call(inputs), strict=True)
        return Detections(**dict(found))

    def detect(self, pictures: Sequence[Picture]) -> list[Result]:
        """Detect objects in pictures, and return what the detector would.

        Args:
            pictures: ``(h, w, 3)`` uint8 RGB each, as many as the file takes at once.
        """
        about = self.about
        inputs = make_inputs(pictures, about)
        with torch.inference_mode():
            found = self(inputs)
        entries = to_image_detections(
            found,
            [""] * len(pictures),
            inputs.original_sizes,
            offset=0,
            whole_pixels=about.whole_pixel_masks,
            pasted=about.pasted,
        )
        return [
            Result.of(
                entry,
                size=picture.shape[:2],
                path=None,
                class_names=about.classes,
                keypoint_names=about.keypoints,
            )
            for entry, picture in zip(entries, pictures, strict=True)
        ]


def load_exported(path: Path) -> Exported:
    """Load a file that ``frcnn export`` wrote, of any kind.

    Raises:
        ExportError: the file is of another kind, or onnxruntime is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise ExportError(f"{path} does not exist; give a file of frcnn export")
    if path.suffix == ".onnx":
        return _load_onnx(path)
    try:
        with zipfile.ZipFile(path) as file:
            names = file.namelist()
    except zipfile.BadZipFile as error:
        raise ExportError(
            f"{path} is neither an .onnx file nor a .pt2 archive; give a file of "
            "frcnn export"
        ) from error
    if any("aotinductor" in name and name.endswith(".so") for name in names):
        return _load_package(path)
    return _load_program(path)


def _load_program(path: Path) -> Exported:
    extra: dict[str, Any] = {About.KEY: ""}
    module = torch.export.load(path, extra_files=extra).module()
    return Exported(
        About.from_json(extra[About.KEY], source=path), lambda inputs: module(*inputs)
    )


def _load_package(path: Path) -> Exported:
    package = torch._inductor.aoti_load_package(str(path))
    facts = package.get_metadata().get(About.KEY, "")
    return Exported(
        About.from_json(facts, source=path), lambda inputs: package(*inputs)
    )


def _load_onnx(path: Path) -> Exported:
    try:
        import onnxruntime
    except ImportError as error:
        raise ExportError(f"{path} needs onnxruntime to run; {INSTALL}") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(
        path, options, providers=["CPUExecutionProvider"]
    )
    facts = session.get_modelmeta().custom_metadata_map.get(About.KEY, "")
    names = {node.name for node in session.get_inputs()}

    def call(inputs: Inputs) -> list[Tensor]:
        given = {
            name: tensor.numpy()
            for name, tensor in inputs._asdict().items()
            if name in names  # the graph lacks inputs that it does not read
        }
        return [torch.from_numpy(array) for array in session.run(None, given)]

    return Exported(About.from_json(facts, source=path), call)
