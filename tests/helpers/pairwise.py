"""Cases of tests with several independent parameters, without all their products."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, product
from typing import Any

import pytest


def pairwise(factors: Mapping[str, Iterable[Any]]) -> pytest.MarkDecorator:
    """Parametrize so that any two values of two parameters meet in a case.

    Args:
        factors: values by the parameter's name, or by several names with commas between
            them, whose values are tuples that stay together.
    """
    names = [name.strip() for key in factors for name in key.split(",")]
    choices, cases = [list(values) for values in factors.values()], []
    for choice in covering([len(values) for values in choices]):
        case: list[Any] = []
        for key, values, index in zip(factors, choices, choice, strict=True):
            case += values[index] if "," in key else [values[index]]
        cases.append(case)
    return pytest.mark.parametrize(names, cases)


def covering(counts: Sequence[int]) -> list[tuple[int, ...]]:
    """Rows of indices below ``counts``; each two of two columns are in one of them.

    Each row is the one of all products that has most pairs which none before it has,
    the first of several such.
    """
    every = {row: set(_pairs(row)) for row in product(*map(range, counts))}
    missing = set().union(*every.values())
    rows = []
    while missing:
        rows.append(max(every, key=lambda row: len(every[row] & missing)))
        missing -= every[rows[-1]]
    return rows


def _pairs(row: tuple[int, ...]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    return list(combinations(enumerate(row), 2))
