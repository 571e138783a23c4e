"""Runs that give the same bits each time, as far as that can be had."""

import logging
import os

import torch

from ..kernels.library import kernels_for

logger = logging.getLogger(__name__)


def be_deterministic(device: torch.device) -> None:
    """Use only operators whose sums have a fixed order, and tell what has no such.

    RoI pooling, whose gradient is a scattered sum, goes by kernels of our own without
    atomics: those of torchvision have no fixed order, or, told to have one, take many
    times the memory. An operator of PyTorch that has no deterministic form warns at its
    first use, by name, and the run goes on.

    Args:
        device: of the run. Called before anything is computed there.

    Raises:
        ValueError: RoI pooling would not be deterministic.
    """
    if device.type != "cpu" and kernels_for("roi_pool", device.type) is None:
        raise ValueError(
            "train.deterministic needs the project's own RoI pooling on "
            f"{device.type}, which is not in use here (a line above may say why); "
            "leave out --deterministic, or train with --device cpu"
        )
    # cuBLAS reads this when it starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling what is about to be overwritten only helps to find faults.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    logger.info(
        "deterministic: the same bits from the same seed, data, machine, versions%s. "
        "Not between CPU and GPU, nor between kinds of either%s",
        " and number of threads" if device.type == "cpu" else "",
        ""
        if device.type == "cpu"
        else ", nor where PyTorch warns that an operator has no deterministic form",
    )
