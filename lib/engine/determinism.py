"""Deterministic training, as far as the operators allow it."""

import logging
import os

import torch

from ..kernels.library import kernels_for

logger = logging.getLogger(__name__)


def be_deterministic(device: torch.device) -> None:
    """Use only operators that sum in a fixed order, and log the exceptions.

    The gradient of RoI pooling is a scattered sum. The project's own kernels compute it
    without atomics; torchvision's have no fixed order, or need many times the memory
    for one. An operator of PyTorch without a deterministic form warns by name at its
    first use, and the run continues.

    Args:
        device: device of the run; nothing may have been computed on it yet.

    Raises:
        ValueError: RoI pooling would not be deterministic.
    """
    if device.type != "cpu" and kernels_for("roi_pool", device.type) is None:
        raise ValueError(
            "train.deterministic needs the project's own RoI pooling on "
            f"{device.type}, which is not in use here (see the log above); leave out "
            "--deterministic, or train with --device cpu"
        )
    # cuBLAS reads this when it starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling memory that is overwritten anyway only helps to find faults.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    logger.info(
        "deterministic: the same bits for the same seed, data, machine, versions%s; "
        "other bits on another kind of CPU or GPU%s",
        " and number of threads" if device.type == "cpu" else "",
        ""
        if device.type == "cpu"
        else ", and where PyTorch warns that an operator has no deterministic form",
    )
