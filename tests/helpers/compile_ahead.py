"""Compiles every GPU kernel for the GPUs named on the command line.

    python tests/helpers/compile_ahead.py 90 80 100 120 gfx942

The first one gets all variants, each further one every kernel in one variant. No GPU is
needed, but Triton's compiler, which TRITON_INTERPRET would turn off. Prints registers,
spilled bytes, shared memory and seconds of each.
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import triton
from faster_rcnn.kernels.gpu import (
    matching,
    roi_backward,
    roi_forward,
    suppression_kernels,
)
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

F, INT, B, U, L = "*fp32", "*i32", "*i1", "*u8", "*i64"
BYTES = "*i8"


def nms_kernels():
    """Name, kernel, types of the arguments, constants, warps, whether fused."""
    k = suppression_kernels
    blocks = {"PANEL": 4096, "TILE": 512}
    yield "score_keys", k.score_keys, [F, B, INT, "i32"], {"BLOCK": 1024}, 4
    types = [F, L, L, F, "i32", "fp32"]
    yield "gather", k.gather, types, {"BLOCK": 256}, 4
    for divide in (False, True):
        types = [INT, F, INT, "i32", "fp32", "fp32"]
        constants = {**blocks, "DIVIDE": divide}
        yield f"overlap_bits {divide=}", k.overlap_bits, types, constants, 4
    types = [INT, F, F, INT, BYTES, "i32", "i32", "i32", "fp32", "fp32"]
    constants = {"TILE": 256, "SHARES": 16, "DIVIDE": False}
    yield "meet_kept", k.meet_kept, types, constants, 2
    types = [INT, L, F, INT, BYTES, INT, F, INT, L, B, "i32", "i32", "i32"]
    constants = {"PANEL": 4096, "BLOCK": 256, "SHARES": 16, "AT_ONCE": 64}
    yield "resolve_panel", k.resolve_panel, types, constants, 16


def matching_kernels():
    k = matching
    sizes = ["i32", "i32", "i32", "fp32"]
    for mask in (B, None):
        given = [F, F, B, mask, mask]
        results = [F, L, F, F]
        types = [*given, *results, *sizes]
        yield f"meet_objects {mask=}", k.meet_objects, types, {"TILE": 128}, 1
        types = [*given, F, F, B, *sizes]
        yield f"mark_best {mask=}", k.mark_best, types, {"TILE": 128}, 1


def pooling_kernels():
    forward, backward = roi_forward.roi_forward, roi_backward.roi_backward
    for name, number, levels, last, mode, ratio, maxima in (
        ("align", "*bf16", 5, True, 0, 0, False),
        ("align", "*fp32", 1, True, 0, 2, True),
        ("crop", "*fp32", 1, True, 1, 0, True),
        ("pool", "*fp16", 1, False, 3, 0, False),
    ):
        name = f"{name} {number} {levels=} {last=} {maxima=}"
        shapes = [("fp32",) * levels] * 3
        sizes = (L,) * levels if levels > 1 else None
        how = {"P": 7, "MODE": mode, "RATIO": ratio, "ALIGNED": True}
        places = INT if mode == 3 else U
        types = [(number,) * levels, sizes, *shapes, F, number, places]
        types += ["i32", "i32", "fp32", "i32"]
        constants = {
            "LEVELS": levels, "CELLS": 8, "BLOCK": 128 if last else 64, "LAST": last,
            "MAXIMA": maxima, **how,
        }  # fmt: skip
        yield f"roi_forward {name}", forward, types, constants, 4 if last else 2
        types = [None if sizes is None else L, INT, F, number, places, number]
        types += ["i32", "i32", "fp32", "i32", "i32", "i32"]
        constants = {
            "LEVEL": 0, "CELLS": 16 if maxima else 8, "WIDTH": 8, "BLOCK": 128,
            "LAST": last, "MAXIMA": maxima, "AT_ONCE": 128, **how,
        }  # fmt: skip
        yield f"roi_backward {name}", backward, types, constants, 1
        types = [sizes, *shapes, F, INT, "i32", "i32", "fp32", "i32"]
        if levels == 1 and mode == 0:
            continue  # enough of them
        how["SIDE"] = how.pop("P")
        constants = {"LEVELS": levels, "BLOCK": 128, **how}
        kernel = roi_backward.touched_cells
        yield f"touched_cells {name}", kernel, types, constants, 1


def compile_for(capability, kernel, types, constants, warps):
    """The compiled kernel; arguments that are multiples of 16 are declared as such."""
    names = kernel.arg_names
    given = dict(zip(names, types, strict=False))
    constants |= {name: None for name, kind in given.items() if kind is None}
    signature = {name: given.get(name) or "constexpr" for name in names}
    attributes = {
        (names.index(name), *path): [["tt.divisibility", 16]]
        for name, kind in given.items()
        for path, single in _leaves(kind)
        if single.startswith("*") or name in ("channels", "count")
    }
    source = ASTSource(kernel, signature, constexprs=constants, attrs=attributes)
    options = {"num_warps": warps, "enable_fp_fusion": False}
    amd = capability.startswith("gfx")
    target = GPUTarget("hip", capability, 64)
    if not amd:
        target = GPUTarget("cuda", int(capability), 32)
    return triton.compile(source, target=target, options=options)


def _leaves(kind):
    if isinstance(kind, tuple):
        return [((k,), single) for k, single in enumerate(kind)]
    return [((), kind)] if kind else []


def resources(compiled):
    """Registers, spilled bytes and shared memory, as the assembler's listing says."""
    if "cubin" in compiled.asm:
        tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
        with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
            file.write(compiled.asm["cubin"])
            file.flush()
            text = subprocess.run(
                [tool, "-res-usage", file.name], capture_output=True, text=True
            ).stdout
        # Blackwell's files are for a newer cuobjdump than some versions of Triton have.
        registers, spilled = r"REG:(\d+)", r"STACK:(\d+)"
    else:
        text = compiled.asm["amdgcn"]
        registers, spilled = (
            r"\.vgpr_count: *(\d+)",
            r"\.private_segment_fixed_size: *(\d+)",
        )
    found = (re.search(pattern, text) for pattern in (registers, spilled))
    numbers = [int(match[1]) if match else "unknown" for match in found]
    return [*numbers, compiled.metadata.shared]


def main():
    kernels = [*nms_kernels(), *matching_kernels(), *pooling_kernels()]
    for capability in sys.argv[1:]:
        for name, *kernel in kernels:
            start = time.monotonic()
            compiled = compile_for(capability, *kernel)
            # Fused only where the kernel asks for it.
            fused = len(re.findall(r"\bfma\.rn\.f32", compiled.asm.get("ptx", "")))
            print(
                f"{capability} {name}: registers, spilled, shared",
                f"{resources(compiled)}, {fused} fused,",
                f"{time.monotonic() - start:.1f} s",
                flush=True,
            )
        # Of further generations each kernel in one variant is enough.
        kernels = list({kernel[1]: kernel for kernel in kernels}.values())


if __name__ == "__main__":
    main()
