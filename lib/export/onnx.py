"""ONNX: the program in standard operators alone."""

import contextlib
import io
import warnings
from pathlib import Path

import torch
from torch.export import ExportedProgram

from .about import About
from .export_error import ExportError
from .program import DetectionProgram, Inputs
from .requirements import INSTALL

OPSET = 18
"""GridSample, RoiAlign with both shifts and ReduceMax by tensor need it."""


def check_expressible(program: DetectionProgram) -> None:
    """Refuse what ONNX has no operators for.

    Raises:
        ExportError: naming the setting.
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
    """Translate a traced program and write an ``.onnx`` file.

    Args:
        traced: the program, on the CPU.
        path: the file.
        about: kept in the file's metadata.

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
        warnings.simplefilter("ignore")  # of other people's deprecated calls
        written = torch.onnx.export(
            traced,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(Inputs._fields),
            output_names=["boxes", "scores", "classes", "valid"],
            custom_translation_table=translations(),
            verbose=False,
        )
    assert written is not None
    file = written.model_proto
    onnx.helper.set_model_props(file, {About.KEY: about.to_json()})
    onnx.save(file, path)
