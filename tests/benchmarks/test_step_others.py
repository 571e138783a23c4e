"""The detectors of other packages: what is mended in them, and they where they are."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from whole_step import mmdet_peer, packages
from whole_step.models import Work
from whole_step.ways import build_step

CPU = torch.device("cpu")
COUNTS = ("rpn.train_pre_nms", "150", "rpn.test_pre_nms", "100")


def tiny(phase, model="res50_fpn"):
    sizes = {"size": (64, 96), "rois": (8, 12), "classes": 3}
    return Work(model, phase, settings=COUNTS, **sizes)


def test_a_network_without_a_recipe():
    with pytest.raises(ValueError, match=r"has res50.*res101_fpn; found 'vgg16'"):
        build_step("mmdet-bf16", Work("vgg16"), CPU)
    with pytest.raises(ValueError, match=r"cascade_res50_fpn; found 'vgg16'"):
        build_step("detectron2", Work("vgg16"), CPU)


def test_scaled_outputs_have_the_given_deviation():
    torch.manual_seed(0)
    layer = nn.Linear(4, 6, bias=False)
    inputs = torch.randn(50, 4)
    with torch.no_grad():
        packages.scale(layer, list(layer(inputs).split(30)), 0.3)
        assert float(layer(inputs).std()) == pytest.approx(0.3)


def test_last_norms_of_branches_are_small():
    model = nn.ModuleDict({"bn2": nn.BatchNorm2d(2), "bn3": nn.BatchNorm2d(2)})
    packages.calm(model)
    assert model["bn2"].weight.tolist() == [1, 1]
    assert model["bn3"].weight.tolist() == pytest.approx([0.2, 0.2])


class _Given(nn.Module):
    """Gives its arguments, and keeps them."""

    def forward(self, *given):
        self.given = given
        return given


def test_boxes_are_computed_in_float32():
    extractor, rpn, head = _Given(), _Given(), _Given()
    roi_head = SimpleNamespace(bbox_roi_extractor=extractor, bbox_head=head)
    mmdet_peer._compute_boxes_in_float32(
        SimpleNamespace(rpn_head=rpn, roi_head=roi_head)
    )
    image = torch.ones(1, 2, 3, 4).to(torch.bfloat16, memory_format=torch.channels_last)
    rois = torch.ones(5, 5)
    extractor((image, image), rois)
    maps, given_rois = extractor.given
    assert all(x.is_contiguous() and x.dtype == torch.float32 for x in maps)
    assert len(maps) == 2 and given_rois is rois
    scores, deltas = rpn([image], [image, image])
    assert [x.dtype for x in (*scores, *deltas)] == [torch.float32] * 3
    assert [x.dtype for x in head(image, image)] == [torch.float32] * 2


@pytest.fixture
def mmdet():
    return pytest.importorskip("mmdet", exc_type=ImportError)


@pytest.mark.parametrize("model", ["res50", "res50_fpn"])
def test_mmdet_learns(mmdet, model):
    sums = []
    for way in ("mmdet", "mmdet-bf16"):
        step = build_step(way, tiny("train", model), CPU)
        losses = step()
        assert {"loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "loss_bbox"} == set(losses)
        sums.append(sum(float(loss.detach()) for loss in losses.values()))
        assert step.model.roi_head.bbox_sampler.num == 8
        assert step.model.roi_head.bbox_head.num_classes == 3
        trained = [p for p in step.model.parameters() if p.requires_grad]
        assert all(p.grad is not None for p in trained)
    assert sums[1] == pytest.approx(sums[0], rel=0.1)


def test_mmdet_detects(mmdet):
    for way in ("mmdet", "mmdet-bf16"):
        step = build_step(way, tiny("infer"), CPU)
        proposals = []
        step.model.roi_head.bbox_head.register_forward_hook(
            lambda _, __, found: proposals.append(len(found[0]))  # noqa: B023
        )
        (image,) = step()
        found = image.pred_instances
        assert proposals == [12]
        assert found.scores.dtype == torch.float32
        assert found.scores.max() > 0.5  # of three classes, so they are spread
        assert found.labels.max() < 3
        assert found.bboxes.min() >= 0 and found.bboxes[:, 2].max() <= 96


NETS = ["res50_fpn", "retina_res50_fpn", "cascade_res50_fpn"]


@pytest.mark.parametrize("model", NETS)
def test_detectron2_learns(model):
    pytest.importorskip("detectron2", exc_type=ImportError)
    sums = []
    for way in ("detectron2", "detectron2-bf16"):
        step = build_step(way, tiny("train", model), CPU)
        losses = step()
        assert len(losses) == {"res": 4, "ret": 2, "cas": 8}[model[:3]]
        sums.append(sum(float(loss.detach()) for loss in losses.values()))
        trained = [p for p in step.model.parameters() if p.requires_grad]
        assert all(p.grad is not None for p in trained)
    assert sums[1] == pytest.approx(sums[0], rel=0.1)


@pytest.mark.parametrize("model", NETS)
def test_detectron2_detects(model):
    pytest.importorskip("detectron2", exc_type=ImportError)
    for way in ("detectron2", "detectron2-bf16"):
        (found,) = build_step(way, tiny("infer", model), CPU)()
        # RetinaNet's mean score is .01, and a cascade takes the mean of three.
        assert found.scores.max() > 0.15
        assert found.pred_classes.max() < 3
        boxes = found.pred_boxes.tensor
        assert boxes.min() >= 0 and boxes[:, 2].max() <= 96
