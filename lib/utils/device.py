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
    """The device of that name; ``auto`` takes CUDA, then MPS, then the CPU.

    Of several processes on a machine each gets a GPU of its own.

    Raises:
        ValueError: the device is unknown or not there.
    """
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(kind for kind, usable in there.items() if usable)
    if name not in there or not there[name]:
        usable = ", ".join(kind for kind, is_there in there.items() if is_there)
        raise ValueError(
            f"device {name!r} is not available here; this machine has {usable}. "
            "Use --device auto."
        )
    place = find_rank(os.environ)
    if name == "cuda" and place is not None:
        # SLURM may show each process its own GPU only.
        return torch.device(name, place.local_rank % torch.cuda.device_count())
    return torch.device(name)


def pick_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Type that convolutions and matrix products compute in.

    Args:
        precision: ``float32``, ``bfloat16``, or ``auto`` for bfloat16 where the
            hardware has instructions for it; emulated, it is slower than float32.
        device: where the network runs.
    """
    if precision == "float32":
        return torch.float32
    if precision == "bfloat16":
        return torch.bfloat16
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
    """Context for the forward pass in which the network computes in ``dtype``."""
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and PyTorch's generators."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def random_states() -> dict[str, Any]:
    """All generators' states, of types that ``torch.load(weights_only=True)`` reads."""
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
    """Set all generators to states of :func:`random_states`."""
    random.setstate(states["python"])
    kind, keys, position, has_gauss, gauss = states["numpy"]
    np.random.set_state((kind, np.array(keys, np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        # The machine that goes on may have fewer GPUs than the one that saved.
        torch.cuda.set_rng_state_all(states["cuda"][: torch.cuda.device_count()])


def keep_freed_memory() -> None:
    """Let the C library keep freed memory for the next allocation of that size.

    By default glibc hands large blocks back to the system at once, and every feature
    map is faulted in page by page again. Without effect where there is no mallopt.
    """
    mallopt = (
        getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    )
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_M_MMAP_THRESHOLD, 2**30)
