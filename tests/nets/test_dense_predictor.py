import backbone_checks as checks
import pytest
import torch
from faster_rcnn.nets.dense_predictor import DensePredictor
from torch import nn
from torchvision.models.detection.retinanet import RetinaNetHead


def predictor(norm="none", classes=5):
    torch.manual_seed(0)
    return DensePredictor(64, 9, classes, norm=norm)


@torch.no_grad()
@pytest.mark.parametrize("norm", ["none", "group"])
def test_equals_torchvision(norm):
    layer = (lambda channels: nn.GroupNorm(32, channels)) if norm == "group" else None
    peer, ours = RetinaNetHead(64, 9, 5, norm_layer=layer), predictor(norm)
    checks.randomise(peer)
    for convs, outputs, theirs, last in (
        ("score_convs", "scores", peer.classification_head, "cls_logits"),
        ("delta_convs", "deltas", peer.regression_head, "bbox_reg"),
    ):
        for conv, block in zip(getattr(ours, convs), theirs.conv, strict=True):
            conv.load_state_dict((block if norm == "group" else block[0]).state_dict())
        getattr(ours, outputs).load_state_dict(getattr(theirs, last).state_dict())
    x = checks.images(2, 64, 5, 7)
    logits, deltas = ours(x, None)
    want = peer([x])
    torch.testing.assert_close(logits, want["cls_logits"])
    torch.testing.assert_close(deltas, want["bbox_regression"])


@torch.no_grad()
@pytest.mark.parametrize("norm", ["none", "group"])
def test_padded_map_gives_what_the_bare_one_gives(norm):
    one = predictor(norm)
    checks.randomise(one)
    bare = checks.images(1, 64, 3, 5)
    padded = torch.full((2, 64, 4, 8), 9.0)
    padded[0, :, :3, :5] = bare
    got = one(padded, torch.tensor([[3, 5], [4, 8]]))
    for padded_rows, rows in zip(got, one(bare, None), strict=True):
        inside = padded_rows[0].unflatten(0, (4, 8, 9))[:3, :5].flatten(0, 2)
        torch.testing.assert_close(inside, rows[0], rtol=1e-4, atol=1e-4)


def test_starts_at_the_prior():
    one = predictor(classes=3)
    logits, deltas = one(torch.zeros(1, 64, 2, 2), None)
    assert logits.shape == (1, 36, 3) and deltas.shape == (1, 36, 4)
    torch.testing.assert_close(logits.sigmoid(), torch.full_like(logits, 0.01))
    assert not deltas.any()


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["none", "group"])
def test_traces(norm):
    one, x = predictor(norm), checks.images(2, 64, 3, 4)
    sizes = torch.tensor([[3, 4], [2, 3]])
    want = one(x, sizes)
    got = torch.compile(one, fullgraph=True, backend="eager")(x, sizes)
    torch.testing.assert_close(got, want)
    (got[0].sum() + got[1].sum()).backward()
    assert all(p.grad is not None for p in one.parameters())
