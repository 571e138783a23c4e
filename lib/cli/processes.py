"""Start the processes of a command-line tool, or join them."""

import argparse
import logging
import os
import sys

import torch

from ..utils.device import pick_device
from ..utils.distributed import collectives
from ..utils.distributed.launch import launch, this_command
from ..utils.distributed.rank import find_rank
from ..utils.monitoring.logs import LOGGER_NAME


def join_processes(arguments: argparse.Namespace) -> None:
    """Join the processes that a launcher started, or start them and wait for them.

    A single process returns at once; otherwise this returns in the processes that do
    the work.

    Args:
        arguments: with ``gpus`` and ``device``, and perhaps ``procs_per_gpu``.

    Raises:
        ValueError: there are fewer GPUs, another number of processes was started, or
            the processes cannot connect.
        SystemExit: in the parent, after the processes that it started.
    """
    if collectives.is_distributed():  # since an earlier call of a program
        if not collectives.is_main():
            _limit_logging(collectives.process_rank().rank)
        return
    place = find_rank(os.environ)
    sharing: int = getattr(arguments, "procs_per_gpu", 1)
    if place is None:
        if getattr(arguments, "launcher", "none") != "none":
            raise ValueError(
                f"--launcher {arguments.launcher}: expected to be started by it, found "
                "none of its environment variables; start the command with torchrun, "
                "srun or mpirun, or leave out --launcher and give --gpus N"
            )
        gpus: int = arguments.gpus or 1
        if gpus * sharing > 1:
            _check_devices(gpus, arguments.device, processes=gpus * sharing)
            if sharing > 1:
                _show_gpus(gpus)
            sys.exit(launch(gpus * sharing, this_command()))
        return
    count = arguments.gpus and arguments.gpus * sharing
    if count is not None and place.local_processes not in (0, count):
        each = f" with {sharing} processes each" if sharing > 1 else ""
        raise ValueError(
            f"--gpus {arguments.gpus}{each}, but {place.local_processes} processes "
            "were started on this machine; leave out --gpus, or start it without a "
            "launcher"
        )
    device = pick_device(arguments.device)
    if device.type == "mps":
        raise ValueError("several processes need CUDA or --device cpu")
    if place.rank != 0:
        _limit_logging(place.rank)
    collectives.start(place, device, sharing=sharing > 1)


def _show_gpus(count: int) -> None:
    """Make only the first ``count`` GPUs visible; processes are assigned in turn."""
    there = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = there.split(",") if there else list(map(str, range(count)))
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(names[:count])


def _check_devices(count: int, name: str, *, processes: int) -> None:
    device = pick_device(name)
    if device.type == "cpu" and name != "cpu":
        raise ValueError(
            f"--gpus {count}, but this machine has no GPU; add --device cpu for "
            f"{processes} processes on the CPU"
        )
    if device.type == "mps":
        raise ValueError(f"--gpus {count} needs CUDA or --device cpu, found {device}")
    if device.type == "cuda" and count > torch.cuda.device_count():
        raise ValueError(
            f"--gpus {count}, but this machine has {torch.cuda.device_count()}; give "
            "as many as there are"
        )


def _limit_logging(rank: int) -> None:
    """Let a process other than the main one log only the files that it cannot read."""

    def name_process(record: logging.LogRecord) -> bool:
        record.msg = f"process {rank}: {record.msg}"
        return record.name.endswith(".train_record")

    for handler in logging.getLogger(LOGGER_NAME).handlers:
        handler.addFilter(name_process)
