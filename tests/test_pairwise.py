"""The helper that leaves out cases leaves out no pair."""

from itertools import combinations, product

import pytest
from pairwise import covering, pairwise


@pytest.mark.parametrize(
    ("counts", "most"), [((2, 2), 4), ((2, 2, 2, 2, 4), 10), ((4, 2, 2, 7), 30)]
)
def test_every_two_values_meet(counts, most):
    rows = covering(counts)
    assert len(rows) <= most
    for a, b in combinations(range(len(counts)), 2):
        met = {(row[a], row[b]) for row in rows}
        assert met == set(product(range(counts[a]), range(counts[b])))


def test_names_that_stay_together():
    mark = pairwise({"a, b": [(1, 2), (3, 4)], "c": "xy"})
    names, cases = mark.args
    assert names == ["a", "b", "c"]
    assert sorted(cases) == [[1, 2, "x"], [1, 2, "y"], [3, 4, "x"], [3, 4, "y"]]
