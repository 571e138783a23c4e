"""Checkpoints: a run's whole state in one file, written atomically."""

import contextlib
import dataclasses
import os
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..config.settings import Config
from ..datasets.allowed_names import faults_of_names
from ..utils.device import random_states
from ..utils.files import atomic_path
from ..utils.untrusted.safe_yaml import brief
from ..utils.untrusted.torch_file import ClaimError, load_torch_file
from .safetensors_files import is_safetensors, read_safetensors

FORMAT = "faster_rcnn checkpoint 2"
_QUOTED = 200  # characters of other libraries' errors, which may quote the whole file


class CheckpointError(ValueError):
    """A file cannot be read as the kind of file it should be."""


class DamagedFileError(CheckpointError):
    """The file is incomplete, or of another kind."""


@dataclasses.dataclass
class Counts:
    """Counters of a run from its first update on."""

    unreadable_images: int = 0  # unreadable files that were replaced, in all processes
    skipped_updates: int = 0  # updates skipped because a number was not finite
    skipped_in_a_row: int = 0  # length of the current series of skipped updates


class Snapshot(NamedTuple):
    """Objects whose states a checkpoint stores.

    The data stream is a function of seed and iteration, and the schedule one of the
    iteration, so neither needs a state of its own.
    """

    model: nn.Module  # the detector
    optimizer: torch.optim.Optimizer  # the optimizer, with its momenta
    generator: torch.Generator  # random number generator of the sampling
    iteration: int  # number of updates done
    counts: Counts = Counts()  # counters of the run so far
    # state that only some runs have: the averaged weights as ``ema``, the course of
    # validations as ``validation``
    extra: Mapping[str, object] = MappingProxyType({})


def save_checkpoint(
    path: Path, snapshot: Snapshot, config: Config, classes: tuple[str, ...]
) -> None:
    """Write everything that resuming needs.

    Args:
        path: the file to write; it appears whole or not at all.
        classes: class names, background first.

    Raises:
        OSError: the disk is full or not writable; earlier checkpoints stay intact.
    """
    begin_checkpoint(path, snapshot, config, classes).close()


def begin_checkpoint(
    path: Path, snapshot: Snapshot, config: Config, classes: tuple[str, ...]
) -> contextlib.ExitStack:
    """Write a checkpoint to a temporary file, as `save_checkpoint` does.

    The states may change afterwards: the system has a copy of the bytes. ``close`` of
    the result, in any thread, waits until the file is on the disk, and renames it.
    """
    state = {
        "format": FORMAT,
        "iteration": snapshot.iteration,
        "config": config.model_dump(mode="json"),
        "classes": list(classes),
        "model": snapshot.model.state_dict(),
        "optimizer": snapshot.optimizer.state_dict(),
        "generator": snapshot.generator.get_state(),
        "random_states": random_states(),
        "counts": dataclasses.asdict(snapshot.counts),
        **snapshot.extra,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        torch.save(state, stack.enter_context(atomic_path(path)))
        return stack.pop_all()


def read_tensors(path: Path) -> dict[str, Any]:
    """Load a file of torch.save or safetensors, without running any code in it.

    Tensor sizes are checked against the file's size before memory is allocated.

    Raises:
        CheckpointError: the file does not exist.
        DamagedFileError: it is not a regular file, truncated, not a PyTorch file, needs
            pickled code to run, has impossibly large tensors, or is not a dictionary.
    """
    if not path.is_file():
        if os.path.lexists(path):
            raise DamagedFileError(f"{path} is {_what(path)}, expected a .pth file")
        raise CheckpointError(
            f"{path} does not exist; give the path of a .pth or .safetensors file"
        )
    kind = "PyTorch"
    try:
        if is_safetensors(path):
            kind = "safetensors"
            return read_safetensors(path)
        content = load_torch_file(path)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        found = _cut(named[1]) if named else _first_line(error)
        raise DamagedFileError(
            f"{path} is damaged, or contains objects that only code from the file "
            f"could load, which is not run ({found}); give a file "
            "of tensors: a state dict, saved again by the program that wrote the "
            "file, which frcnn convert then reads"
        ) from error
    except ClaimError as error:
        raise DamagedFileError(
            f"{path} is damaged, or made to fill the memory ({_first_line(error)}); "
            "it was not loaded. Download it again from a source that you trust"
        ) from error
    except Exception as error:
        # Damaged bytes raise errors of any type: IndexError, struct.error, ...
        raise DamagedFileError(
            f"{path} is damaged or no {kind} file ({_first_line(error)}); delete it, "
            "or download it again"
        ) from error
    if not isinstance(content, dict):
        raise DamagedFileError(
            f"{path} holds {type(content).__name__}, expected a dictionary of tensors"
        )
    return content


def _what(path: Path) -> str:
    """Describe what is at a path where a file is expected."""
    if path.is_dir():
        return "a folder"
    if path.is_symlink():
        return f"a link to {os.readlink(path)}, which does not exist"
    return "a pipe, a device or a socket"


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Load the state that `save_checkpoint` wrote, on the CPU.

    Raises:
        CheckpointError: it is not a checkpoint.
        DamagedFileError: it is a damaged checkpoint.
    """
    return check_checkpoint(read_tensors(path), path)


def check_checkpoint(state: dict[str, Any], path: Path) -> dict[str, Any]:
    """Check that the content of a file is that of an undamaged checkpoint.

    Raises:
        CheckpointError: the format is another.
        DamagedFileError: the file's checksums do not match, or an entry is missing or
            has another type.
    """
    _check_sums(path)
    if state.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is not a checkpoint of this program (format "
            f"{brief(state.get('format'))}, expected {FORMAT!r}); weights of other "
            "origin go in by --weights"
        )
    iteration, average = state.get("iteration"), state.get("ema", {"weights": {}})
    parts = {
        "config": isinstance(state.get("config"), dict),
        "classes": _is_names(state.get("classes")),
        "iteration": type(iteration) is int and iteration >= 0,
        "model": _is_weights(state.get("model")),
        "ema": isinstance(average, dict) and _is_weights(average.get("weights")),
    }
    wrong = [name for name, sound in parts.items() if not sound]
    if wrong:
        found = {name: brief(state.get(name)) for name in wrong}
        raise DamagedFileError(
            f"{path} is not whole: {', '.join(wrong)} missing or of another type or "
            f"value than a checkpoint has (found {', '.join(found.values())}); fetch "
            "it again, or train again"
        )
    return state


def _is_names(value: object) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) >= 2
        and all(isinstance(name, str) for name in value)
        and not faults_of_names(value)
    )


def _is_weights(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(name, str) and isinstance(tensor, Tensor)
        for name, tensor in value.items()
    )


def detector_weights(state: Mapping[str, Any], *, averaged: bool) -> dict[str, Tensor]:
    """Return the weights of a checkpoint that detectors use."""
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
        return  # reading the file gives a better error
    try:
        with zipfile.ZipFile(path) as file:
            member = file.testzip()
            damaged = member and f"wrong checksum of {_cut(member.partition('/')[2])}"
    except Exception as error:
        # Damaged bytes raise errors of any type: EOFError, UnicodeDecodeError, ...
        damaged = _first_line(error)
    if damaged is not None:
        raise DamagedFileError(
            f"{path} is damaged ({damaged}); delete it, or download it again"
        )


def _first_line(error: BaseException) -> str:
    """Return the first line of an error, without PyTorch's guesses about it."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return _cut(line.partition(". ")[0])


def _cut(text: str) -> str:
    """Shorten a text, which may come from the file, for a message."""
    return text if len(text) <= _QUOTED else f"{text[:_QUOTED]}..."
