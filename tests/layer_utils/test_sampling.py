import pytest
import torch
from faster_rcnn.layer_utils.sampling import random_order


def candidates(*rows: str) -> torch.Tensor:
    return torch.tensor([[c == "x" for c in row] for row in rows])


def test_candidates_come_first():
    mask = candidates("x.x..x", "......", "xxxxxx", ".....x")
    indices, there = random_order(mask, 4, torch.Generator().manual_seed(0))
    assert indices.shape == there.shape == (4, 4)
    # Three, none, more than the four slots, one.
    assert there.tolist() == [
        [True, True, True, False],
        [False] * 4,
        [True] * 4,
        [True, False, False, False],
    ]
    assert set(indices[0, :3].tolist()) == {0, 2, 5}
    assert indices[3, 0] == 5


def test_each_index_once():
    mask = torch.rand(50, 20, generator=torch.Generator().manual_seed(1)) < 0.5
    indices, there = random_order(mask, 20, torch.Generator().manual_seed(0))
    assert torch.equal(indices.sort(dim=1).values, torch.arange(20).expand(50, -1))
    assert torch.equal(there.sum(dim=1), mask.sum(dim=1))
    assert torch.equal(mask.gather(1, indices), there)


def test_all_candidates_are_equally_likely_in_every_slot():
    # 4000 draws of 2 out of 5: each comes first, and second, 800 times on average,
    # standard deviation 25.
    mask = candidates("x.xx.xx").expand(4000, -1)
    indices, _ = random_order(mask, 2, torch.Generator().manual_seed(0))
    for slot in range(2):
        counts = indices[:, slot].bincount(minlength=7)
        assert counts[[1, 4]].sum() == 0
        assert (counts[[0, 2, 3, 5, 6]] - 800).abs().max() < 125
    together = (indices[:, 0] * 7 + indices[:, 1]).bincount(minlength=49)
    assert (together > 0).sum() == 20  # every ordered pair, 5 * 4


def test_same_seed_same_order():
    mask = torch.ones(3, 100, dtype=torch.bool)

    def draw(seed):
        return random_order(mask, 10, torch.Generator().manual_seed(seed))[0]

    assert torch.equal(draw(3), draw(3))
    assert not torch.equal(draw(3), draw(4))
    assert not torch.equal(draw(3)[0], draw(3)[1])


def test_no_generator_means_the_default_one():
    mask = torch.ones(1, 50, dtype=torch.bool)
    torch.manual_seed(7)
    first, _ = random_order(mask, 5, None)
    second, _ = random_order(mask, 5, None)
    torch.manual_seed(7)
    again, _ = random_order(mask, 5, None)
    assert torch.equal(first, again) and not torch.equal(first, second)


@pytest.mark.parametrize("shape", [(0, 5, 3), (2, 5, 0), (2, 0, 0)])
def test_empty(shape):
    rows, columns, count = shape
    mask = torch.zeros(rows, columns, dtype=torch.bool)
    indices, there = random_order(mask, count, None)
    assert indices.shape == there.shape == (rows, count)
