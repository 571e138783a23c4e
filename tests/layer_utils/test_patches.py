import pytest
import torch
import torch.nn.functional as F
from faster_rcnn.layer_utils.patches import cell_patches
from faster_rcnn.layer_utils.structures import FeatureMaps
from pooling_cases import ramp, random_features


def test_by_hand():
    """A map whose cell (y, x) holds x + 10 y, 6 x 8."""
    features = FeatureMaps([ramp()], None)
    cells = torch.tensor([[0, 2 * 8 + 3, 47]])
    patches = cell_patches(features, cells)[0, :, :, 0].tolist()
    assert patches[0] == [0, 0, 0, 0, 0, 1, 0, 10, 11]
    assert patches[1] == [12, 13, 14, 22, 23, 24, 32, 33, 34]
    assert patches[2] == [46, 47, 0, 56, 57, 0, 0, 0, 0]
    short = FeatureMaps([ramp()], [torch.tensor([[5, 4]])])
    patches = cell_patches(short, cells)[0, :, :, 0].tolist()
    assert patches[1] == [12, 13, 0, 22, 23, 0, 32, 33, 0]
    assert not any(patches[2][:1])


@pytest.mark.parametrize("padded", [True, False])
def test_are_what_a_convolution_sees(padded):
    maps = [random_features(height=h, width=w, seed=h) for h, w in ((6, 8), (3, 4))]
    maps = [x.double().requires_grad_() for x in maps]
    sizes = [torch.tensor([[5, 7], [6, 4]]), torch.tensor([[3, 4], [3, 2]])]
    weight = torch.randn(5, 3, 3, 3, dtype=torch.float64)
    want = []
    for x, size in zip(maps, sizes, strict=True):
        if padded:
            rows = torch.arange(x.shape[2])[:, None] < size[:, :1, None]
            columns = torch.arange(x.shape[3]) < size[:, 1:, None]
            x = x * (rows & columns)[:, None]
        want.append(F.conv2d(x, weight, padding=1).flatten(2))
    want = torch.cat(want, 2).transpose(1, 2)  # (N, all cells, C')
    cells = torch.tensor([[0, 13, 47, 48, 59, 20], [59, 0, 50, 30, 31, 31]])
    features = FeatureMaps(maps, sizes if padded else None)
    patches = cell_patches(features, cells)
    got = patches.flatten(2) @ weight.permute(0, 2, 3, 1).flatten(1).T
    want = want.gather(1, cells[:, :, None].expand(-1, -1, 5))
    torch.testing.assert_close(got, want)
    upstream = torch.randn_like(want)
    expected = torch.autograd.grad(want, maps, upstream)
    for a, b in zip(torch.autograd.grad(got, maps, upstream), expected, strict=True):
        assert b.any()
        torch.testing.assert_close(a, b)
