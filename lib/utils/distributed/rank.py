"""Rank of this process and number of processes, from the launcher's environment."""

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

# Variables of rank, processes, rank on this machine, processes on this machine. mpirun
# inside a SLURM job inherits SLURM's, which are then wrong: so MPI's come first.
_LAUNCHERS = (
    ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    tuple(f"OMPI_COMM_WORLD_{x}" for x in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")),
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE"),
    ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE"),
)


class ProcessRank(NamedTuple):
    """Rank of this process, and the number of processes.

    Attributes:
        rank: rank among all, from 0; 0 is the main process, which logs and saves.
        local_rank: rank among those of this machine.
        local_processes: number on this machine; 0 if the launcher does not say.
    """

    rank: int = 0
    processes: int = 1
    local_rank: int = 0
    local_processes: int = 1


def find_rank(environ: Mapping[str, str]) -> ProcessRank | None:
    """Read the rank that a launcher gave to this process; None if it is alone.

    Args:
        environ: the environment, with the variables of torchrun, Open MPI, other MPIs
            (PMI) or SLURM.

    Raises:
        ValueError: the variables contradict each other or are not numbers.
    """
    for names in _LAUNCHERS:
        if names[0] not in environ or names[1] not in environ:
            continue
        rank, processes = (_number(environ, name) for name in names[:2])
        if not 0 <= rank < processes:
            raise ValueError(
                f"expected {names[0]} from 0 to {names[1]} - 1, found {rank} and "
                f"{processes}; unset both to run as a single process"
            )
        if processes == 1:
            return None
        # Some PMI launchers set no local rank; SLURM may.
        local = next((n for n in (names[2], "SLURM_LOCALID") if n in environ), names[0])
        count = environ.get(names[3], "0")
        return ProcessRank(
            rank=rank,
            processes=processes,
            local_rank=_number(environ, local),
            local_processes=int(count) if count.isdecimal() else 0,
        )
    return None


def find_rendezvous(environ: Mapping[str, str], place: ProcessRank) -> tuple[str, int]:
    """Return address and port of the main process.

    These are ``MASTER_ADDR`` and ``MASTER_PORT`` if set; else the first host of SLURM's
    list with a port derived from the job id, or this machine if all processes are on
    it.

    Raises:
        ValueError: there are several machines, and the first is unknown.
    """
    lists = ("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST")
    hosts = next((environ[name] for name in lists if environ.get(name)), "")
    port = 29500
    if "MASTER_PORT" in environ:
        port = _number(environ, "MASTER_PORT")
    elif "SLURM_JOB_ID" in environ:
        port = 20000 + _number(environ, "SLURM_JOB_ID") % 10000
    if environ.get("MASTER_ADDR"):
        return environ["MASTER_ADDR"], port
    if place.local_processes == place.processes:
        return "127.0.0.1", port
    if hosts:
        return first_host(hosts), port
    raise ValueError(
        f"{place.processes} processes on several machines, but MASTER_ADDR is not set; "
        "export MASTER_ADDR with the name of the machine of rank 0"
    )


def first_host(hosts: str) -> str:
    """Return the first name of a SLURM list such as ``gpu[03-05,9]-ib,login1``."""
    match = re.match(r"([^,\[]*)(?:\[(\w+)[^\]]*\]([^,\[]*))?", hosts)
    assert match is not None  # the pattern matches the empty text too
    return "".join(part or "" for part in match.groups())


def _number(environ: Mapping[str, str], name: str) -> int:
    try:
        return int(environ[name])
    except ValueError as error:
        raise ValueError(
            f"expected a number in the variable {name}, found {environ[name]!r}; unset "
            "it to run as a single process"
        ) from error


def usable_cores() -> int:
    """Return the number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
