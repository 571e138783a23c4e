"""Compile the program to machine code: an AOTInductor package (.pt2)."""

from pathlib import Path

import torch
from torch.export import ExportedProgram

from .about import About
from .export_error import ExportError


def write_package(traced: ExportedProgram, path: Path, about: About) -> None:
    """Compile and write a package for ``torch._inductor.aoti_load_package``.

    Weights that are only ever multiplied with each other (a frozen norm folded into its
    convolution) are multiplied once, when the package is loaded.

    Args:
        traced: the program.
        path: the file, named ``.pt2``.
        about: kept in the file.

    Raises:
        ExportError: there is no C++ compiler, or it failed.
    """
    from torch._inductor.exc import CppCompileError, InvalidCxxCompiler

    try:
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
