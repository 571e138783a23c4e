"""Device, precision and random states of a run."""

import contextlib
import ctypes
import os
import random
from typing import Any

import numpy as np
import torch

from .distributed.rank import find_rank

# From glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def pick_device(name: str) -> torch.device:
    """Return the device of this name; ``auto`` means CUDA, then MPS, then the CPU.

    If there are several processes on a machine, each gets its own GPU.

    Raises:
        ValueError: the device is unknown or not available.
    """
    usable = ["cuda"] * torch.cuda.is_available()
    usable += ["mps"] * torch.backends.mps.is_available() + ["cpu"]
    if name == "auto":
        name = usable[0]
    if name not in usable:
        raise ValueError(
            f"device {name!r} is not available here; this machine has "
            f"{', '.join(usable)}. Use --device auto."
        )
    place = find_rank(os.environ)
    if name == "cuda" and place is not None:
        # SLURM may show each process only its own GPU.
        return torch.device(name, place.local_rank % torch.cuda.device_count())
    return torch.device(name)


def pick_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the dtype of convolutions and matrix products.

    Args:
        precision: ``float32``, ``bfloat16``, ``float16``, or ``auto`` for bfloat16 if
            the hardware has instructions for it; emulated, it is slower than float32.
    """
    named = {
        "float32": torch.float32,
        "bfloat16": torch.bfloat16,
        "float16": torch.float16,
    }
    if precision in named:
        return named[precision]
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        native = any(
            getattr(torch.cpu, probe, lambda: False)()
            for probe in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        )
    else:
        native = False
    return torch.bfloat16 if native else torch.float32


def autocast(
    device: torch.device, dtype: torch.dtype
) -> contextlib.AbstractContextManager[Any]:
    """Return a context for the forward pass, in which the network uses ``dtype``."""
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and PyTorch's generators."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def random_states() -> dict[str, Any]:
    """Return all generators' states; ``torch.load(weights_only=True)`` accepts them."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    states: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (kind, np.asarray(keys).tolist(), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def restore_random_states(states: dict[str, Any]) -> None:
    """Set all generators to the states from `random_states`."""
    random.setstate(states["python"])
    kind, keys, position, has_gauss, gauss = states["numpy"]
    np.random.set_state((kind, np.array(keys, np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        # The machine that resumes may have fewer GPUs than the one that saved.
        torch.cuda.set_rng_state_all(states["cuda"][: torch.cuda.device_count()])


def keep_freed_memory() -> None:
    """Make glibc keep freed memory for later allocations of the same size.

    By default glibc returns large blocks to the system at once, and every feature map
    is faulted in again page by page.
    """
    library = ctypes.CDLL(None) if os.name == "posix" else None
    mallopt = getattr(library, "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_M_MMAP_THRESHOLD, 2**30)
