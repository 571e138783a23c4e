"""How a command-line tool becomes several processes."""

import argparse
import logging
import os
import sys

import torch

from ..utils import distributed
from ..utils.launch import launch, this_command
from ..utils.logs import LOGGER_NAME
from ..utils.place import find_place
from .device import pick_device


def add_process_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that tell how many processes there are."""
    parser.add_argument(
        "--gpus",
        type=_positive,
        metavar="N",
        help="processes on this machine, one for each of its first N GPUs; with "
        "--device cpu, N processes on the CPU. Not needed, and only checked, where "
        "torchrun, srun or mpirun starts the processes (docs/distributed.md)",
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, found {text!r}")
    return int(text)


def join_processes(arguments: argparse.Namespace) -> None:
    """Join the processes that a launcher started, or start them and wait for them.

    Does nothing for a single process, and returns in the processes that do the work.

    Args:
        arguments: with ``gpus`` and ``device``.

    Raises:
        ValueError: there are not so many GPUs, or another number of processes was
            started, or they cannot meet.
        SystemExit: after the processes that were started here.
    """
    place = find_place(os.environ)
    count: int | None = arguments.gpus
    if place is None:
        if count is not None and count > 1:
            _check_devices(count, arguments.device)
            sys.exit(launch(count, this_command()))
        return
    if count is not None and place.local_processes not in (0, count):
        raise ValueError(
            f"--gpus {count}, but {place.local_processes} processes were started on "
            "this machine; leave out --gpus, or start it without a launcher"
        )
    device = pick_device(arguments.device)
    if device.type == "mps":
        raise ValueError("several processes need CUDA or --device cpu")
    if place.rank != 0:
        _speak_up_for(place.rank)
    distributed.start(place, device)


def _check_devices(count: int, name: str) -> None:
    device = pick_device(name)
    if device.type == "cpu" and name != "cpu":
        raise ValueError(
            f"--gpus {count}, but this machine has no GPU; add --device cpu for "
            f"{count} processes on the CPU"
        )
    if device.type == "mps":
        raise ValueError(f"--gpus {count} needs CUDA or --device cpu, found {device}")
    if device.type == "cuda" and count > torch.cuda.device_count():
        raise ValueError(
            f"--gpus {count}, but this machine has {torch.cuda.device_count()}; give "
            "as many as there are"
        )


def _speak_up_for(rank: int) -> None:
    """Leave the telling to the main process, but for files that only this one met."""

    def name_process(record: logging.LogRecord) -> bool:
        record.msg = f"process {rank}: {record.msg}"
        return record.name.endswith(".train_record")

    for handler in logging.getLogger(LOGGER_NAME).handlers:
        handler.addFilter(name_process)
