"""Limits on what a forked process can compute.

A fork copies the memory of a process and one of its threads. GNU's OpenMP, in which
both PyTorch and the compiled kernels run, still counts on the parent's threads: a child
that computes in parallel waits for them forever or, where new threads got their memory,
crashes. With a single thread OpenMP does not look for others.
"""

import functools
import os

import torch

_forks = 0


def forks() -> int:
    """Count the forks that led to this process since `survive_forks`."""
    return _forks


@functools.cache
def survive_forks() -> None:
    """Make processes that are forked from now on compute in one thread."""
    if hasattr(os, "register_at_fork"):  # not on Windows
        os.register_at_fork(after_in_child=_in_child)


def _in_child() -> None:
    global _forks
    _forks += 1
    torch.set_num_threads(1)
