"""The processes of a run: rank, number, and the data they exchange.

Without a process group, every function here acts as for a single process. Several
processes are started by `launch.py`, torchrun, SLURM's srun or mpirun, which pass each
process its rank in environment variables.
"""

import contextlib
import datetime
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import torch
from torch import Tensor

from .heartbeat import Failure, Heartbeat
from .rank import ProcessRank, find_rendezvous, usable_cores

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

_T = TypeVar("_T")

_ARRIVAL_SECONDS = 300  # that the first process waits for the last
_REDUCTION_SECONDS = 1800  # in one reduction; a dead process is noticed long before
_LEAVE_SECONDS = 10  # that the main process waits at the end for the others


@dataclass
class _Group:
    """State of a process that belongs to a group."""

    place: ProcessRank
    store: "Store"
    heartbeat: Heartbeat
    meetings: int = 0


_group: _Group | None = None


def start(place: ProcessRank, device: torch.device, *, sharing: bool = False) -> None:
    """Connect to the other processes, by NCCL for tensors on GPUs and Gloo for others.

    Args:
        device: device of this process; a GPU becomes the current one.
        sharing: whether processes share GPUs, which NCCL does not support: Gloo is then
            used for all tensors.

    Raises:
        ValueError: see `find_rendezvous`; or some processes did not arrive in time.
    """
    global _group
    import torch.distributed as dist

    address, port = find_rendezvous(os.environ, place)
    # torchrun's agent hosts the store itself.
    agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"

    def connect(*, host: bool) -> "Store":
        store = dist.TCPStore(  # type: ignore[attr-defined]
            *(address, port),
            is_master=host,
            timeout=datetime.timedelta(seconds=_ARRIVAL_SECONDS),
            wait_for_workers=False,
        )
        restart = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        return _part_of(store, f"faster_rcnn/{restart}")

    try:
        store = connect(host=place.rank == 0 and not agent)
        # A separate connection: a waiting request would block the watching thread.
        heartbeat = Heartbeat(connect(host=False), place.rank, place.processes)
    except (dist.DistError, RuntimeError) as error:
        raise ValueError(
            f"process {place.rank} of {place.processes} cannot meet the others at "
            f"{address}:{port} ({_first_line(error)}); check MASTER_ADDR and "
            "MASTER_PORT, and that all processes were started"
        ) from error
    _group = _Group(place, store, heartbeat)
    heartbeat.start()
    _meet("arrived", limit=_ARRIVAL_SECONDS)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if place.local_processes > 1 and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, usable_cores() // place.local_processes))
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if device.type == "cuda" and not sharing else "gloo",
        store=_part_of(store, "group"),
        rank=place.rank,
        world_size=place.processes,
        timeout=datetime.timedelta(seconds=_REDUCTION_SECONDS),
    )


def _part_of(store: "Store", name: str) -> "Store":
    """Return a view of a store whose keys are separate from others."""
    return torch.distributed.PrefixStore(name, store)  # type: ignore[attr-defined]


def process_rank() -> ProcessRank:
    """Return this process's rank; that of a single process before `start`."""
    return ProcessRank() if _group is None else _group.place


def is_main() -> bool:
    """Return whether this is the process that logs and saves."""
    return process_rank().rank == 0


def is_distributed() -> bool:
    """Return whether there are other processes."""
    return _group is not None


def barrier() -> None:
    """Wait until every process arrives, as long as all of them live."""
    if _group is not None:
        _group.meetings += 1
        _meet(f"meeting/{_group.meetings}")


def all_sum(tensor: Tensor) -> Tensor:
    """Sum a tensor over all processes, in place."""
    if _group is not None:
        torch.distributed.all_reduce(tensor)
    return tensor


def gather(item: _T) -> list[_T]:
    """Gather every process's item by rank on the main process; empty on the others."""
    if _group is None:
        return [item]
    items: list[Any] | None = [None] * process_rank().processes if is_main() else None
    torch.distributed.gather_object(item, items)
    return items or []


def from_main(item: _T) -> _T:
    """Broadcast the main process's item to every process."""
    if _group is None:
        return item
    items = [item]
    torch.distributed.broadcast_object_list(items)
    return items[0]


@contextlib.contextmanager
def main_first() -> Iterator[None]:
    """Let the first process of each machine run the block before the others.

    For files that are downloaded, generated or indexed once and then read by all.
    """
    first = process_rank().local_rank == 0
    if not first:
        barrier()
    yield
    if first:
        barrier()
    barrier()


def finish() -> None:
    """Leave the process group once all processes have arrived here."""
    global _group
    if _group is None:
        return
    barrier()
    _group.heartbeat.stop()
    torch.distributed.destroy_process_group()
    # The store ends with the main process, so that process leaves last.
    if is_main():
        limit = time.monotonic() + _LEAVE_SECONDS
        while _group.store.add("gone", 0) < _group.place.processes - 1:
            if time.monotonic() > limit:
                break
            time.sleep(0.02)
    else:
        _group.store.add("gone", 1)
    _group = None


def end(failure: Failure, error: BaseException | None = None) -> NoReturn:
    """End this process and all others, and report the first failure once.

    Args:
        error: its cause; if that is only the loss of another process, wait for that
            process's failure and report it instead.
    """
    assert _group is not None
    _group.heartbeat.end(failure, consequence=error is not None and _is_loss(error))


def _is_loss(error: BaseException) -> bool:
    """Return whether an error means only that another process has gone."""
    if isinstance(error, torch.distributed.DistError):
        return True
    signs = ("gloo", "NCCL", "Connection closed", "Connection reset", "Broken pipe")
    return isinstance(error, RuntimeError) and any(s in str(error) for s in signs)


def _meet(name: str, limit: float = float("inf")) -> None:
    """Wait in the store which, unlike a reduction, has no timeout on a long task."""
    assert _group is not None
    waited, pause = time.monotonic(), 0.001
    arrived = _group.store.add(name, 1)
    while arrived < _group.place.processes:
        if time.monotonic() - waited > limit:
            raise ValueError(
                f"only {arrived} of {_group.place.processes} processes have come in "
                f"{limit:g} s; start all of them (with SLURM: by srun)"
            )
        time.sleep(pause)
        pause = min(2 * pause, 0.1)
        arrived = _group.store.add(name, 0)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
