"""Steps that lack a means take longer, and compute the same."""

import sys

import pytest
import step_means as means
import torch
from faster_rcnn.kernels.library import kernels_for
from faster_rcnn.nets import layers
from whole_step.intervals import Interval
from whole_step.models import Work
from whole_step.ways import build_step

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
# So many samples that each step takes all there are.
TINY = (
    *("net.head_stride", "2", "pooling.size", "4", "anchors.scales", "[1,2]"),
    *("rpn.channels", "16", "rpn.batch_size", "4096"),
    *("rpn.train_pre_nms", "150", "rpn.train_post_nms", "20"),
)


def tiny(phase="train"):
    return Work("res50", phase, size=(32, 64), rois=(32, 12), classes=3, settings=TINY)


@pytest.fixture(scope="module")
def step():
    return build_step("ours-float32", tiny(), CPU)


@pytest.fixture(scope="module")
def want(step):
    return step()


def test_no_means_changes_the_losses(step, want):
    for name, without in means.WITHOUT.items():
        with without(step):
            found = step()
        for loss, value in want.items():
            torch.testing.assert_close(
                found[loss], value, rtol=1e-3, atol=1e-5, msg=f"{name}: {loss}"
            )


def test_a_step_lacks_the_parts_that_it_leaves_out(step):
    nms = sys.modules["faster_rcnn.nms.nms"]  # the package gives the function
    regions = step.model.box_head.regions
    convolve, lifted = layers.convolve, regions.lifted
    with means.WITHOUT["own kernels in place of torchvision's"](step):
        assert nms.kernels_for("nms", "cpu") is None
    with means.WITHOUT["convolutions of regions by matrix products"](step):
        assert layers.convolve is not convolve
    with means.WITHOUT["channels_last"](step):
        weight = step.model.rpn.head.conv.weight
        assert weight.is_contiguous()
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert nms.kernels_for is kernels_for and layers.convolve is convolve
    assert regions.lifted == lifted


def test_each_means_is_left_out_and_had_alone():
    found = means.ways("fast", "exact")
    every = set(means.WITHOUT)
    assert found["", "all"] == ("fast", ())
    assert found[means.BFLOAT16, "without"] == ("exact", ())
    for name in every - {means.LIFTED}:
        assert found[name, "without"] == ("fast", (name,))
        which, lacking = found[name, "alone"]
        assert which == "exact" and set(lacking) == every - {name}


def test_ratios_are_to_the_whole_and_to_the_bare(monkeypatch):
    def take(step, lacking):
        if step == "fast":
            return 1.0 + len(lacking)
        return 10.0 + len(lacking)

    monkeypatch.setattr(means, "_seconds", take)
    monkeypatch.setattr(
        means, "build_step", lambda way, *_: "exact" if "32" in way else "fast"
    )
    found = means.measure(tiny(), CPU, until=0.05, limit=0)
    count = len(means.WITHOUT)
    assert found[means.TOGETHER]["without"].ratio == 10.0 + count
    assert found[means.FOLDED]["without"].ratio == 2.0
    assert found[means.FOLDED]["alone"].ratio == (10.0 + count) / (9.0 + count)
    assert found[means.BFLOAT16]["alone"].ratio == (10.0 + count) / (1.0 + count)
    assert "alone" not in found[means.LIFTED]


def test_table():
    names = [means.TOGETHER, means.BFLOAT16, *means.WITHOUT]
    case = {
        name: {"without": Interval(2.0, 1.5, 2.5), "alone": Interval(1.25, 1, 2)}
        for name in names
    }
    del case[means.LIFTED]["alone"]
    text = means.means_table({"res50, train": case})
    assert f"| {means.FOLDED} | 2.00 (1.50 to 2.50), 1.25 |" in text
    assert f"| {means.LIFTED} | 2.00 (1.50 to 2.50) |" in text
