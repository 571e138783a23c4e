"""Write a detector in each of the formats."""

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.fx.config
from torch.export import ExportedProgram

from ..detector.about import About, Shape
from ..detector.export_error import INSTALL, ExportError
from ..detector.file_inputs import Inputs
from ..kernels.library import kernels_for
from ..utils.monitoring.slow_steps import named_step
from .onnx_sizes import sizes_from_pixels
from .program import DetectionProgram, dynamic_shapes, example_inputs

OPSET = 18
"""GridSample, RoiAlign with both shifts and ReduceMax by tensor need it."""

_STACK_TRACES = "do_not_emit_stack_traces"
_KERNELS = ("nms", "soft_nms", "roi_pool", "paste_masks")


@torch.no_grad()
def trace(program: DetectionProgram, shape: Shape) -> ExportedProgram:
    """Trace the program to a graph, with the dynamic sizes that ``shape`` leaves open.

    Args:
        program: on the device that it is to run on.
        shape: shape of its inputs.
    """
    device = program.model.pixel_mean.device
    inputs = example_inputs(shape, device)
    for kernel in _KERNELS:  # checked at their first use, which must not be traced
        kernels_for(kernel, device.type)
    with named_step("tracing"), _without_stack_traces():
        traced = torch.export.export(
            program, tuple(inputs), dynamic_shapes=dynamic_shapes(shape)
        )
    for node in traced.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine, in every file
    return traced


@contextlib.contextmanager
def _without_stack_traces() -> Iterator[None]:
    """Record no lines of Python per node, which takes a quarter of a trace's time."""
    config = torch.fx.config
    before = getattr(config, _STACK_TRACES, False)  # unknown to older PyTorch
    setattr(config, _STACK_TRACES, True)
    try:
        yield
    finally:
        setattr(config, _STACK_TRACES, before)


def write_program(traced: ExportedProgram, path: Path, about: About) -> None:
    """Write a ``.pt2`` file for ``torch.export.load``."""
    with warnings.catch_warnings():
        # The warning is about parts of other weights, which no weight of ours is.
        warnings.filterwarnings("ignore", message="No complete tensor")
        torch.export.save(traced, path, extra_files={About.KEY: about.to_json()})


def write_package(traced: ExportedProgram, path: Path, about: About) -> None:
    """Compile and write a package for ``torch._inductor.aoti_load_package``.

    Weights that are only ever multiplied with each other (a frozen norm folded into its
    convolution) are multiplied once, when the package is loaded.

    Args:
        traced: the program.
        path: the file, named ``.pt2``.
        about: facts to store in the file.

    Raises:
        ExportError: there is no C++ compiler, or it failed.
    """
    from torch._inductor.exc import CppCompileError, InvalidCxxCompiler

    try:
        with named_step("compiling, which takes minutes"):
            torch._inductor.aoti_compile_and_package(
                traced,
                package_path=str(path),
                inductor_configs={
                    "aot_inductor.use_runtime_constant_folding": True,
                    "aot_inductor.metadata": {About.KEY: about.to_json()},
                },
            )
    except (CppCompileError, InvalidCxxCompiler) as error:
        raise ExportError(
            "AOTInductor needs a C++ compiler (g++ or clang++) that builds its code; "
            f"install one, or export to another format: {str(error)[:500]}"
        ) from error


def check_expressible(program: DetectionProgram) -> None:
    """Check that ONNX has operators for a program.

    Raises:
        ExportError: it has none for a setting, which the message names.
    """
    if program.test.suppression != "nms":
        raise ExportError(
            f"test.suppression {program.test.suppression} picks boxes one after the "
            "other, which ONNX's operators cannot; export with --set test.suppression "
            "nms, or to another format"
        )
    if program.dtype != torch.float32:
        raise ExportError(
            "ONNX files are float32 (or int8, by quantization); found "
            f"{program.dtype}; leave out --precision"
        )


def write_onnx(traced: ExportedProgram, path: Path, about: About) -> None:
    """Translate a traced program on the CPU to standard operators in an ``.onnx`` file.

    Raises:
        ExportError: onnx or onnxscript are not installed.
    """
    try:
        import onnx

        from .onnx_operators import translations
    except ImportError as error:
        raise ExportError(
            f"export to ONNX needs onnx and onnxscript; {INSTALL}"
        ) from error
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # of deprecated calls in other packages
        with named_step("converting to ONNX"), _without_stack_traces():
            written = torch.onnx.export(
                traced,
                dynamo=True,
                opset_version=OPSET,
                input_names=list(Inputs._fields),
                output_names=list(about.outputs),
                custom_translation_table=translations(),
                verbose=False,
                optimize=False,
            )
        assert written is not None
        with named_step("optimizing"):
            _optimize(written.model)
    file = written.model_proto
    sizes_from_pixels(file)
    onnx.helper.set_model_props(file, {About.KEY: about.to_json()})
    onnx.save(file, path)


def _optimize(model: Any) -> None:
    """Fold constants, and remove nodes that are unused or equal to another.

    ``ONNXProgram.optimize`` also matches patterns, in a time that is quadratic in the
    number of nodes; it removes few more nodes, and runtimes do that when they load.
    """
    from onnx_ir.passes import Sequential, common
    from onnxscript import optimizer

    common.InlinePass()(model)
    optimizer.fold_constants(model, onnx_shape_inference=True)
    optimizer.remove_unused_functions(model)
    Sequential(
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedOpsetsPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.DeduplicateInitializersPass(),
        common.CommonSubexpressionEliminationPass(),
        common.NameFixPass(),
    )(model)


def convert_to_openvino(source: Path, path: Path) -> None:
    """Convert an ONNX file, of floats or int8, to OpenVINO's format.

    Raises:
        ExportError: openvino is not installed.
    """
    try:
        import openvino
    except ImportError as error:
        raise ExportError(
            "export to OpenVINO needs openvino; pip install "
            "faster-rcnn[export,openvino]"
        ) from error
    model = openvino.Core().read_model(source)  # with the facts
    openvino.save_model(model, path, compress_to_fp16=False)


class Format(NamedTuple):
    """A kind of file: suffix of the name, and function that writes a traced program."""

    suffix: str
    write: Callable[[ExportedProgram, Path, About], None]


FORMATS = {
    "program": Format(".program.pt2", write_program),
    "aoti": Format(".aoti.pt2", write_package),
    "onnx": Format(".onnx", write_onnx),
    "openvino": Format(".xml", write_onnx),  # which `convert_to_openvino` reads
}
