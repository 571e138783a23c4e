"""Checkpoints: a run's whole state in one file, written atomically."""

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..utils.files import atomic_path
from .config import Config
from .device import random_states

FORMAT = "faster_rcnn checkpoint 2"


class CheckpointError(ValueError):
    """A file that cannot be read as what it should be."""


def save_checkpoint(
    path: Path,
    *,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    iteration: int,
    config: Config,
    classes: tuple[str, ...],
) -> None:
    """Write everything that resuming needs.

    The data stream is a function of seed and iteration, and the schedule one of the
    iteration, so neither needs a state of its own.

    Args:
        path: the file; it appears whole or not at all.
        model: the detector.
        optimizer: with its momenta.
        generator: of the sampling's random numbers.
        iteration: updates done.
        config: the run's configuration.
        classes: names, background first.

    Raises:
        OSError: the disk is full or not writable; earlier checkpoints are intact.
    """
    state = {
        "format": FORMAT,
        "iteration": iteration,
        "config": config.model_dump(mode="json"),
        "classes": list(classes),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "generator": generator.get_state(),
        "random_states": random_states(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        torch.save(state, temporary)


def read_tensors(path: Path) -> dict[str, Any]:
    """Load a file of tensors and plain values; no code in it is ever run.

    Raises:
        CheckpointError: missing, truncated, or in need of executing pickled code.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is not there; give the path of a .pth file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is damaged, or holds objects that only executing code from the "
            f"file could load, which is not done ({_first_line(error)}); give a file "
            "of tensors (a state dict)"
        ) from error
    except Exception as error:
        # Damaged bytes make the reader fail in any way: IndexError, struct.error, ...
        raise CheckpointError(
            f"{path} is damaged or no PyTorch file ({_first_line(error)}); delete it, "
            "or fetch it again"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{path} holds {type(content).__name__}, expected a dictionary of tensors"
        )
    return content


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The state that :func:`save_checkpoint` wrote, on the CPU.

    Raises:
        CheckpointError: not such a file.
    """
    state = read_tensors(path)
    if state.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is not a checkpoint of this program (format "
            f"{state.get('format')!r}, expected {FORMAT!r}); weights of other origin "
            "go in by --weights"
        )
    return state


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
