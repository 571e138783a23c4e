"""Checkpoints: a run's whole state in one file, written atomically."""

import dataclasses
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..utils.files import atomic_path
from .config import Config
from .device import random_states

FORMAT = "faster_rcnn checkpoint 2"


class CheckpointError(ValueError):
    """A file that cannot be read as what it should be."""


class DamagedFileError(CheckpointError):
    """A file whose bytes are not those that were written, or no PyTorch file."""


@dataclasses.dataclass
class Counts:
    """What a run counts from its first update on.

    Attributes:
        unreadable_images: files that were replaced by others, in all processes.
        skipped_updates: left out since a number was not finite.
        skipped_in_a_row: the last of them.
    """

    unreadable_images: int = 0
    skipped_updates: int = 0
    skipped_in_a_row: int = 0


def save_checkpoint(
    path: Path,
    *,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    iteration: int,
    config: Config,
    classes: tuple[str, ...],
    counts: Counts | None = None,
    extra: Mapping[str, object] | None = None,
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
        counts: of the run so far; None for zeros.
        extra: what only some runs have: the averaged weights as ``ema``, how
            validations went as ``validation``.

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
        "counts": dataclasses.asdict(counts or Counts()),
        **(extra or {}),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        torch.save(state, temporary)


def read_tensors(path: Path) -> dict[str, Any]:
    """Load a file of tensors and plain values; no code in it is ever run.

    Raises:
        CheckpointError: missing, no dictionary, or in need of executing pickled code.
        DamagedFileError: truncated or no PyTorch file.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is not there; give the path of a .pth file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DamagedFileError(
            f"{path} is damaged, or holds objects that only executing code from the "
            f"file could load, which is not done ({_first_line(error)}); give a file "
            "of tensors (a state dict)"
        ) from error
    except Exception as error:
        # Damaged bytes make the reader fail in any way: IndexError, struct.error, ...
        raise DamagedFileError(
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
        DamagedFileError: it was one.
    """
    _check_sums(path)
    state = read_tensors(path)
    if state.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is not a checkpoint of this program (format "
            f"{state.get('format')!r}, expected {FORMAT!r}); weights of other origin "
            "go in by --weights"
        )
    return state


def detector_weights(state: Mapping[str, Any], *, averaged: bool) -> dict[str, Tensor]:
    """The weights of a checkpoint that make detections.

    Args:
        state: the checkpoint.
        averaged: whether to take the averaged weights, where there are any.
    """
    weights: dict[str, Tensor] = dict(state["model"])
    if averaged and "ema" in state:
        weights |= state["ema"]["weights"]
    return weights


def _check_sums(path: Path) -> None:
    """Compare a file's bytes with their checksums, which torch.load does not.

    Raises:
        DamagedFileError: they differ.
    """
    if not path.is_file() or not zipfile.is_zipfile(path):
        return  # reading it tells more
    try:
        with zipfile.ZipFile(path) as file:
            member = file.testzip()
            damaged = member and f"wrong checksum of {member.partition('/')[2]}"
    except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError) as error:
        damaged = _first_line(error)
    if damaged is not None:
        raise DamagedFileError(
            f"{path} is damaged ({damaged}); delete it, or fetch it again"
        )


def _first_line(error: BaseException) -> str:
    """What happened, without what PyTorch supposes about it."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return line.partition(". ")[0]
