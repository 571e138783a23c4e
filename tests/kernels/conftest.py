"""Runs the GPU kernels where there is no GPU: in Triton's interpreter."""

import importlib
import sys
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch

KERNELS = (
    "suppression_kernels",
    "matching",
    "roi",
    "roi_forward",
    "roi_backward",
    "pooling",
)


def _interpret() -> None:
    """Turn Triton's compiled functions into interpreted ones.

    TRITON_INTERPRET does so where it is set before Triton is imported, but any
    `torch.library.custom_op` imports Triton, so in a run of all tests it is too late.
    """
    from triton.runtime.interpreter import InterpretedFunction
    from triton.runtime.jit import JITFunction

    ours = [f"faster_rcnn.kernels.gpu.{name}" for name in KERNELS]
    for name in ours:
        importlib.import_module(name)
    theirs = [name for name in sys.modules if name.startswith("triton.language")]
    for name in [*ours, *theirs]:
        module = sys.modules[name]
        for key, value in list(vars(module).items()):
            if isinstance(value, JITFunction):
                setattr(module, key, InterpretedFunction(value.fn))


def _index_by_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Triton's interpreter before 3.8 loop over tensors under NumPy from 2.4.

    NumPy no longer turns an array of one dimension and one element into a number.
    """
    from triton.runtime import interpreter

    patch_tensor = interpreter._patch_lang_tensor

    def patch(tensor: Any, *scope: Any) -> None:
        patch_tensor(tensor, *scope)
        tensor.__index__ = lambda self: int(self.handle.data.item())

    monkeypatch.setattr(interpreter, "_patch_lang_tensor", patch)


def _patch_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Triton's interpreter patch the language once for each launch of a kernel.

    At each call of a function by a kernel it would search all modules again.
    """
    from triton import language
    from triton.runtime import interpreter

    patch_lang, patched = interpreter._patch_lang, set()
    scope_of_nothing = getattr(interpreter, "_LangPatchScope", lambda: None)

    @cache
    def modules_of(function: Any) -> set[int]:
        values = {id(value) for value in function.__globals__.values()}
        return values & {id(language), id(language.core)}

    def patch(function: Any) -> Any:
        modules = modules_of(function)
        if modules <= patched:
            return scope_of_nothing()
        scope, first = patch_lang(function), not patched
        patched.update(modules)
        if first and scope is not None:  # Triton before 3.8 leaves all patched
            restore = scope.restore

            def restore_all() -> None:
                restore()
                patched.clear()

            scope.restore = restore_all
        return scope

    monkeypatch.setattr(interpreter, "_patch_lang", patch)


def _check_nothing_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Triton's interpreter do only what its results need.

    It adds and multiplies integers in 64 bits too, for an assertion that, as the
    compilers for GPUs know, nothing makes without debugging; and makes a table of types
    for each value.
    """
    from triton.runtime import interpreter

    builder, dtype_of = interpreter.interpreter_builder, interpreter._get_np_dtype
    options, dtypes = replace(builder.options, sanitize_overflow=False), {}
    assert not options.debug

    def known_dtype(kind: Any) -> Any:
        if kind.name not in dtypes:
            dtypes[kind.name] = dtype_of(kind)
        return dtypes[kind.name]

    monkeypatch.setattr(builder, "options", options)
    monkeypatch.setattr(interpreter, "_get_np_dtype", known_dtype)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """Where the GPU kernels run: on the CPU, interpreted, if there is no GPU."""
    pytest.importorskip("triton")
    if torch.cuda.is_available():
        return torch.device("cuda")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    _interpret()
    _index_by_numpy(monkeypatch)
    _patch_once(monkeypatch)
    _check_nothing_in_vain(monkeypatch)
    return torch.device("cpu")
