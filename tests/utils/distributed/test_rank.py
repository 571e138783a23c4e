import pytest
from faster_rcnn.utils.distributed.rank import (
    ProcessRank,
    find_rank,
    find_rendezvous,
    first_host,
)

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
SLURM = {
    "SLURM_PROCID": "5",
    "SLURM_NTASKS": "8",
    "SLURM_LOCALID": "1",
    "SLURM_NTASKS_PER_NODE": "4",
    "SLURM_JOB_NODELIST": "gpu[03-04]",
    "SLURM_JOB_ID": "1234567",
}
OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "2",
    "OMPI_COMM_WORLD_SIZE": "6",
    "OMPI_COMM_WORLD_LOCAL_RANK": "2",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "3",
}
PMI = {"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALRANKID": "0"}


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({}, None),
        ({"HOME": "/root", "RANK": "3"}, None),
        (TORCHRUN, ProcessRank(3, 4, 1, 2)),
        (SLURM, ProcessRank(5, 8, 1, 4)),
        (OPEN_MPI, ProcessRank(2, 6, 2, 3)),
        (PMI, ProcessRank(1, 2, 0, 0)),
        # A launcher inside a job of SLURM, whose variables all processes inherit.
        (SLURM | {"SLURM_PROCID": "0"} | OPEN_MPI, ProcessRank(2, 6, 2, 3)),
        (SLURM | TORCHRUN, ProcessRank(3, 4, 1, 2)),
        # srun of a part of the job's tasks.
        (SLURM | {"SLURM_STEP_NUM_TASKS": "6"}, ProcessRank(5, 6, 1, 4)),
        # A single process of each.
        (TORCHRUN | {"RANK": "0", "WORLD_SIZE": "1"}, None),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, None),
        # SLURM says "4(x2)" where tasks were not asked for by node.
        (SLURM | {"SLURM_NTASKS_PER_NODE": "4(x2)"}, ProcessRank(5, 8, 1, 0)),
        (SLURM | PMI | {"PMI_RANK": "5", "PMI_SIZE": "8"}, ProcessRank(5, 8, 0, 0)),
        ({"PMI_RANK": "5", "PMI_SIZE": "8"}, ProcessRank(5, 8, 5, 0)),
    ],
)
def test_place(environ, place):
    assert find_rank(environ) == place


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"RANK": "4"}, "expected RANK from 0 to WORLD_SIZE - 1, found 4 and 4"),
        ({"RANK": "-1"}, "found -1 and 4"),
        ({"RANK": "one"}, "a number in the variable RANK, found 'one'"),
    ],
)
def test_faulty_place(changes, problem):
    with pytest.raises(ValueError, match=problem):
        find_rank(TORCHRUN | changes)


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        ("gpu7", "gpu7"),
        ("gpu7,gpu9", "gpu7"),
        ("gpu[03-05,9]", "gpu03"),
        ("gpu[3,5],login1", "gpu3"),
        ("gpu[03-05]-ib,gpu9-ib", "gpu03-ib"),
        ("node-a,node-[1-2]", "node-a"),
        ("", ""),
    ],
)
def test_first_host(hosts, first):
    assert first_host(hosts) == first


@pytest.mark.parametrize(
    ("environ", "point"),
    [
        (SLURM, ("gpu03", 24567)),
        (SLURM | {"MASTER_ADDR": "head"}, ("head", 24567)),
        (SLURM | {"MASTER_PORT": "77"}, ("gpu03", 77)),
        (SLURM | {"SLURM_NTASKS_PER_NODE": "8"}, ("127.0.0.1", 24567)),
        (TORCHRUN | {"MASTER_ADDR": "a", "MASTER_PORT": "9"}, ("a", 9)),
        (OPEN_MPI | {"OMPI_COMM_WORLD_LOCAL_SIZE": "6"}, ("127.0.0.1", 29500)),
        (OPEN_MPI | {"MASTER_ADDR": "a"}, ("a", 29500)),
    ],
)
def test_meeting_point(environ, point):
    assert find_rendezvous(environ, find_rank(environ)) == point


def test_unknown_meeting_point():
    with pytest.raises(ValueError, match="MASTER_ADDR is not set; export"):
        find_rendezvous(OPEN_MPI, find_rank(OPEN_MPI))
