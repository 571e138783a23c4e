"""Equality to the bit, of all that holds tensors."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._pytree import tree_map


def assert_equal(one: object, other: object) -> None:
    """Tensors, named tuples of them, or checkpoints are equal to the bit."""
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype and torch.equal(one, other)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_equal(a, b)
    else:
        assert one == other


def image_of(batch: Any, i: int) -> Any:
    """One image of all tensors of a batch, each ``(N, ...)``."""
    return tree_map(lambda x: x[i : i + 1] if isinstance(x, torch.Tensor) else x, batch)


def check_images_alone(function: Callable[..., Any], *batch: Any, images: int) -> None:
    """A function gives the same for a batch as for its images one by one."""
    together = function(*batch)
    for i in range(images):
        assert_equal(image_of(together, i), function(*image_of(batch, i)))
