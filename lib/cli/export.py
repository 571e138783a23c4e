"""Export a checkpoint's detector: torch.export program, AOTInductor, ONNX, OpenVINO."""

import argparse

from ..export.job import Job, export
from ..utils.printable import show
from .user_errors import clear_errors


def main(arguments: argparse.Namespace) -> None:
    """Export the checkpoint that the arguments name."""
    with clear_errors():
        job = Job(
            checkpoint=arguments.checkpoint,
            to=arguments.to,
            output=arguments.output,
            batch=arguments.batch,
            size=arguments.size,
            padded=not arguments.bare,
            device=arguments.device,
            precision=arguments.precision,
            int8=arguments.int8,
            paste=arguments.masks == "pasted",
            images=arguments.images,
            count=arguments.count,
            calibration=arguments.calibration,
            threshold=arguments.threshold,
            measure=arguments.measure,
            overrides=tuple(arguments.overrides),
        )
        show(f"written: {export(job)}")
