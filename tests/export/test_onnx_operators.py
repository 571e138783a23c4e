import numpy as np
import pytest
import torch
from faster_rcnn.kernels.pooling import roi_pool
from faster_rcnn.nms import nms

pytestmark = pytest.mark.slow

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

FREE = torch.export.Dim.DYNAMIC


class Nms(torch.nn.Module):
    """Suppression with each of several sets of options."""

    def __init__(self, *options):
        super().__init__()
        self.options = options

    def forward(self, boxes, scores, valid, groups):
        return [nms(boxes, scores, valid, groups=groups, **o) for o in self.options]


class Pool(torch.nn.Module):
    """Pooling in each of several modes, side by side as channels."""

    def __init__(self, *modes, padded, **options):
        super().__init__()
        self.modes = modes
        self.padded = padded
        self.options = options

    def forward(self, features, rois, sizes):
        sizes = sizes if self.padded else None
        pooled = [
            roi_pool(features, rois, sizes, mode=mode, **self.options)
            for mode in self.modes
        ]
        return torch.cat(pooled, dim=1)


def session_of(module, inputs, dynamic):
    """The module in ONNX's operators, as a function of the same inputs."""
    from faster_rcnn.export.onnx_operators import translations

    with torch.no_grad():
        module(*inputs)
    written = torch.onnx.export(
        module.eval(),
        inputs,
        dynamo=True,
        opset_version=18,
        custom_translation_table=translations(),
        dynamic_shapes=dynamic,
        verbose=False,
        optimize=False,
    )
    operators = {node.domain for node in written.model_proto.graph.node}
    assert operators <= {"", "ai.onnx"}, "only standard operators"
    session = onnxruntime.InferenceSession(written.model_proto.SerializeToString())

    def run(*given):
        arrays = [t.numpy() for t in torch.utils._pytree.tree_leaves(given)]
        names = [node.name for node in session.get_inputs()]
        return session.run(None, dict(zip(names, arrays, strict=True)))

    return run


def boxes_with_ties(images, count, *, groups=3):
    """Whole-pixel boxes and few different scores, so that both tie."""
    generator = torch.Generator().manual_seed(count)

    def draw(low, high, *shape):
        return torch.randint(low, high, (images, count, *shape), generator=generator)

    corner, side = draw(0, 60, 2).float(), draw(0, 30, 2).float()
    scores = draw(-20, 20) / 10
    valid = draw(0, 5) > 0
    return torch.cat((corner, corner + side), 2), scores, valid, draw(0, groups)


def test_nms():
    common = {"threshold": 0.5, "max_outputs": 90}
    module = Nms(common, {**common, "offset": 1.0, "inclusive": True})
    dynamic = ({0: FREE, 1: FREE},) * 4
    run = session_of(module, boxes_with_ties(2, 40), dynamic)
    for images, count in ((2, 40), (1, 7), (3, 400)):
        inputs = boxes_with_ties(images, count)
        (index, kept), (legacy, legacy_kept) = module(*inputs)
        assert kept.any() and (count < 400 or not torch.equal(index, legacy)), count
        found = run(*inputs)
        for got, want in zip(found, (index, kept, legacy, legacy_kept), strict=True):
            np.testing.assert_array_equal(got, want)


def test_nms_worked_by_hand():
    """IoU of exactly a half: dropped if inclusive. And no box at all."""
    boxes = torch.tensor([[[0.0, 0, 4, 4], [0, 0, 4, 8], [0, 0, 4, 8]]])
    scores = torch.tensor([[0.9, 0.8, 0.7]])
    valid, groups = torch.ones(1, 3).bool(), torch.tensor([[0, 0, 1]])
    common = {"threshold": 0.5, "max_outputs": 3}
    module = Nms(common, {**common, "inclusive": True})
    run = session_of(module, (boxes, scores, valid, groups), None)
    index, kept, inclusive, inclusive_kept = run(boxes, scores, valid, groups)
    assert index.tolist() == [[0, 1, 2]] and kept.all()
    assert inclusive.tolist() == [[0, 2, 0]]
    assert inclusive_kept.tolist() == [[True, True, False]]
    index, kept, *_ = run(boxes, scores, ~valid, groups)
    assert index.tolist() == [[0, 0, 0]] and not kept.any()


STRIDES = (8, 16, 32)


def maps_and_rois(images, count, levels, *, padded, seed=0):
    """Maps of 160 x 192 pixels and RoIs of all sizes, the first the whole image."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.tensor([[160, 192]]).repeat(images, 1)
    if padded:
        sizes = torch.randint(100, 160, (images, 2), generator=generator)
    maps = [
        torch.randn(images, 3, 160 // s, 192 // s, generator=generator)
        for s in STRIDES[:levels]
    ]
    edge = sizes.flip(1)[:, None] - 1.0
    ends = torch.rand(2, images, count, 2, generator=generator) * edge
    rois = torch.cat((ends.amin(dim=0), ends.amax(dim=0)), 2)
    rois[:, 0] = torch.cat((0 * edge[:, 0], edge[:, 0]), 1)
    rois[:, 1] = 0  # an unused slot
    return maps, rois, [(sizes + s - 1) // s for s in STRIDES[:levels]]


@pytest.mark.parametrize(
    ("levels", "padded", "max_pool", "aligned", "ratio"),
    [(1, False, True, False, 0), (3, True, False, True, 2)],
)
def test_roi_pool(levels, padded, max_pool, aligned, ratio):
    module = Pool(
        *("align", "pool", "crop", "crop_stn"),
        padded=padded,
        scales=[1 / s for s in STRIDES[:levels]],
        size=4,
        sampling_ratio=ratio,
        aligned=aligned,
        max_pool=max_pool,
        canonical_size=40.0,
        canonical_level=1,
    )
    inputs = maps_and_rois(2, 9, levels, padded=padded)
    free = {0: FREE}
    run = session_of(
        module, inputs, ([free] * levels, {0: FREE, 1: FREE}, [free] * levels)
    )
    for images, count in ((2, 9), (3, 30)):
        inputs = maps_and_rois(images, count, levels, padded=padded, seed=count)
        (found,) = run(*inputs)
        assert np.abs(found).max() > 1
        np.testing.assert_allclose(found, module(*inputs), atol=2e-5)


def test_levels_at_their_limits():
    """Sides of 20, 40 and 80 pixels begin levels 0, 1 and 2 (the canonical one: 1)."""
    sides = torch.tensor([0.0, 39.9, 40.0, 79.9, 80.0, 10000.0])
    rois = torch.stack((0 * sides, 0 * sides, sides, sides), dim=1)[None]
    maps = [torch.full((1, 1, 4, 4), float(level)) for level in range(3)]
    module = Pool(
        "align",
        padded=False,
        scales=[1e-5] * 3,  # all samples lie on the first cells
        size=1,
        canonical_size=40.0,
        canonical_level=1,
    )
    sizes = [torch.tensor([[4, 4]])] * 3
    run = session_of(module, (maps, rois, sizes), None)
    (found,) = run(maps, rois, sizes)
    assert found[:, 0, 0, 0].tolist() == [0, 0, 1, 1, 2, 2]
    np.testing.assert_array_equal(found, module(maps, rois, sizes))
