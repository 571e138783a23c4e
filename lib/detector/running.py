"""Exported files, loaded and called like the detector."""

import threading
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..datasets.loading.samples import Sample
from ..evaluation.image_detections import ImageDetections
from ..inference.image_results import to_image_detections
from ..layer_utils.structures import Detections
from .about import About
from .export_error import INSTALL, ExportError
from .file_inputs import Inputs, stack

FILE_SUFFIXES = (".onnx", ".pt2", ".xml")


class Exported:
    """A detector loaded from an exported file; `about` holds the file's facts."""

    def __init__(
        self, about: About, call: Callable[[Inputs], Sequence[Tensor]]
    ) -> None:
        self.about = about
        self._call = call

    def __call__(self, inputs: Inputs) -> Detections:
        """Detect objects in inputs of a permitted shape, from `file_inputs.stack`.

        Boxes are pixel edges of each original image, best first; masks and keypoints
        are as `DetectionProgram.forward` describes them.
        """
        found = zip(self.about.outputs, self._call(inputs), strict=True)
        return Detections(**dict(found))

    @torch.inference_mode()
    def detect(self, samples: Sequence[Sample]) -> list[ImageDetections]:
        """Detect objects in pictures that `file_inputs.fit` has resized.

        If the file fixes its batch, there are several, and the last one is filled up.
        """
        count = self.about.batch or len(samples)
        found: list[ImageDetections] = []
        for start in range(0, len(samples), count):
            some = list(samples[start : start + count])
            missing = count - len(some)
            inputs = stack([*some, *some[-1:] * missing], self.about)
            inputs = Inputs(*(tensor.to(self.about.device) for tensor in inputs))
            found += self.entries(self(inputs), inputs)[: len(some)]
        return found

    def entries(
        self, found: Detections, inputs: Inputs, names: Sequence[str] | None = None
    ) -> list[ImageDetections]:
        """Return what was found in each of N images, without the padding.

        Args:
            found: from a call.
            inputs: of that call.
            names: ids of the images.
        """
        return to_image_detections(
            found,
            names or [""] * len(inputs.sizes),
            inputs.original_sizes,
            offset=0,  # boxes are edges already
            whole_pixels=self.about.whole_pixel_masks,
            pasted=self.about.pasted,
        )


def load_exported(path: Path) -> Exported:
    """Load a file that ``frcnn export`` wrote, of any kind.

    Raises:
        ExportError: the file is of another kind, or its runtime is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise ExportError(f"{path} does not exist; give a file of frcnn export")
    if path.suffix == ".xml":
        return _load_openvino(path)
    if path.suffix == ".onnx":
        return _load_onnx(path)
    try:
        with zipfile.ZipFile(path) as file:
            names = file.namelist()
    except zipfile.BadZipFile as error:
        raise ExportError(
            f"{path} is neither an .onnx or .xml file nor a .pt2 archive; give a file "
            "of frcnn export"
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


def _load_openvino(path: Path) -> Exported:
    try:
        import openvino
    except ImportError as error:
        raise ExportError(
            f"{path} needs openvino to run; pip install faster-rcnn[openvino]"
        ) from error
    core = openvino.Core()
    try:
        model = core.read_model(path)
        facts = model.get_rt_info(About.RT_INFO).astype(str)
    except RuntimeError:  # of a broken file, or of one without facts
        facts = ""
    about = About.from_json(facts, source=path)
    options: dict[str, Any] = {"INFERENCE_NUM_THREADS": torch.get_num_threads()}
    if about.precision != "int8":  # whose other layers are bfloat16 where that is fast
        hint = "bf16" if about.precision == "bfloat16" else "f32"
        options["INFERENCE_PRECISION_HINT"] = hint
    compiled = core.compile_model(model, "CPU", options)
    names = [port.any_name for port in compiled.inputs]
    request, turn = compiled.create_infer_request(), threading.Lock()

    def call(inputs: Inputs) -> list[Tensor]:
        given = inputs._asdict()
        with turn:  # a request serves one thread at a time
            request.infer({name: given[name].numpy() for name in names})
            found = [
                request.get_output_tensor(i).data for i in range(len(about.outputs))
            ]
            return [torch.from_numpy(array.copy()) for array in found]

    return Exported(about, call)
