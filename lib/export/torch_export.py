"""PyTorch's own format: an exported program (.pt2)."""

import warnings
from pathlib import Path

import torch
from torch.export import ExportedProgram

from .about import About
from .program import DetectionProgram, Shape, dynamic_shapes, example_inputs


@torch.no_grad()
def trace(program: DetectionProgram, shape: Shape) -> ExportedProgram:
    """Trace the program to a graph, with the dynamic sizes that ``shape`` leaves open.

    Args:
        program: on the device that it is to run on.
        shape: of its inputs.
    """
    device = program.model.pixel_mean.device
    inputs = example_inputs(shape, device)
    # Kernels are chosen and checked at their first call, which must not be traced.
    program(*inputs)
    traced = torch.export.export(
        program, tuple(inputs), dynamic_shapes=dynamic_shapes(shape)
    )
    for node in traced.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine, in every file
    return traced


def write_program(traced: ExportedProgram, path: Path, about: About) -> None:
    """Write a ``.pt2`` file for ``torch.export.load``."""
    with warnings.catch_warnings():
        # That a weight which is a part of another is stored whole; none of ours is.
        warnings.filterwarnings("ignore", message="No complete tensor")
        torch.export.save(traced, path, extra_files={About.KEY: about.to_json()})
