"""Building without draws ends, whatever the memory held before."""

from threading import Thread

import pytest
import torch
from faster_rcnn.utils.shape_only import WithoutDraws
from patience import PATIENCE
from torch import nn


@pytest.mark.parametrize("left", [9.0, float("nan")])
def test_truncated_normal_ends(left, monkeypatch):
    """PyTorch 2.14 draws until all values are inside: a net with it would not load."""
    monkeypatch.setattr(torch, "empty_like", lambda x: torch.full_like(x, left))
    weight = torch.full((8,), left)

    def fill():
        with WithoutDraws():
            nn.init.trunc_normal_(weight, 0.0, 0.09, -0.18, 0.18)

    thread = Thread(target=fill, daemon=True)
    thread.start()
    thread.join(PATIENCE / 10)
    assert not thread.is_alive()
    assert (weight.abs() <= 0.18).all()


def test_nothing_is_drawn():
    before = torch.get_rng_state()
    with WithoutDraws():
        nn.Conv2d(3, 4, 3)
        nn.init.trunc_normal_(torch.empty(8))
        torch.empty(8).uniform_()
    assert torch.equal(torch.get_rng_state(), before)
