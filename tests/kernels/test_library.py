"""Finding, checking and doing without the compiled kernels."""

import logging
import sys
import types

import pytest
import torch
from faster_rcnn import kernels
from faster_rcnn.kernels import library, self_check
from faster_rcnn.kernels.library import kernels_for
from faster_rcnn.kernels.pooling import serves
from faster_rcnn.layer_utils.roi_pooling import Pooling, pool_rois
from faster_rcnn.layer_utils.structures import FeatureMaps
from faster_rcnn.nms import nms

OPERATORS = ["nms", "soft_nms", "match_boxes", "roi_pool"]

built = pytest.mark.skipif(kernels_for("nms", "cpu") is None, reason="not built")


@pytest.fixture
def forget():
    """Verdicts are found anew, before the test and after it."""
    caches = library.kernels_for, library._module
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@built
@pytest.mark.parametrize("name", OPERATORS)
def test_kernels_agree_with_their_references(name):
    assert self_check.fault_of(name, kernels_for("nms", "cpu"), "cpu") is None


def spoilt(name, change):
    """The kernels with one of them changed."""
    module = kernels_for("nms", "cpu")
    return types.SimpleNamespace(
        **(vars(module) | {name: change(getattr(module, name))})
    )


def shifted(position, by):
    """The function with one of its arguments changed."""
    return lambda run: (
        lambda *a: run(*a[:position], a[position] + by, *a[position + 1 :])
    )


def pooled_otherwise(**changes):
    """The function with some of its options changed."""
    return lambda run: lambda *a: run(*a[:-1], a[-1]._replace(**changes))


@built
@pytest.mark.parametrize(
    ("name", "function", "change"),
    [
        ("nms", "nms", shifted(4, 0.02)),  # limit
        ("nms", "nms", shifted(6, 1.0)),  # offset
        ("soft_nms", "soft_nms", shifted(6, 0.1)),  # sigma
        ("match_boxes", "match_boxes", shifted(3, 0.5)),  # offset
        ("roi_pool", "roi_pool", pooled_otherwise(sampling_ratio=3)),
        ("roi_pool", "roi_pool", pooled_otherwise(aligned=True)),
        ("roi_pool", "roi_pool", pooled_otherwise(scales=[1 / 15])),
        ("roi_pool", "roi_pool_backward", pooled_otherwise(scales=[1 / 15])),
        ("nms", "nms", lambda run: lambda *a: 1 / 0),
    ],
)
def test_a_wrong_kernel_is_found(name, function, change):
    assert self_check.fault_of(name, spoilt(function, change), "cpu")


@built
def test_a_wrong_kernel_is_not_used(forget, monkeypatch, caplog):
    def fault_of(name, kernels, device_type):
        return "off by one" if name == "nms" else None

    monkeypatch.setattr(self_check, "fault_of", fault_of)
    for _ in range(3):
        assert kernels_for("nms", "cpu") is None
        assert kernels_for("match_boxes", "cpu") is not None
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert (
        "nms gives WRONG RESULTS" in record.message and "off by one" in record.message
    )


@built
def test_the_check_does_not_depend_on_modes_of_the_caller(forget):
    with torch.inference_mode(), torch.device("meta"), torch.autocast("cpu"):
        assert all(kernels_for(name, "cpu") is not None for name in OPERATORS)


@built
def test_kernels_of_another_build_are_not_used(forget, monkeypatch, caplog):
    monkeypatch.setattr(kernels._cpu, "interface", -1)
    monkeypatch.delattr(kernels, "cpu")  # to be imported anew
    monkeypatch.delitem(sys.modules, "faster_rcnn.kernels.cpu")
    assert kernels_for("nms", "cpu") is kernels_for("roi_pool", "cpu") is None
    assert caplog.text.count("built from another version") == 1


def test_other_devices_have_none():
    assert kernels_for("nms", "meta") is None


def test_without_kernels_torchvision_serves(forget, monkeypatch, caplog):
    monkeypatch.setenv(library.DISABLE, "1")
    assert kernels_for("nms", "cpu") is None
    boxes = torch.tensor([[[0.0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 29, 29]]])
    scores, ones = torch.tensor([[3.0, 2, 1]]), torch.ones(1, 3, dtype=torch.bool)
    keep, kept = nms(boxes, scores, ones, threshold=0.7, max_outputs=3)
    assert keep[kept].tolist() == [0, 2]
    features = torch.randn(1, 4, 8, 8, requires_grad=True)
    maps = FeatureMaps([features], None)
    pool_rois(maps, boxes, Pooling("align", 3), strides=[4]).sum().backward()
    assert features.grad.any()
    assert caplog.text.count("torchvision's operators are used") == 1


def test_serves_only_what_it_can():
    assert not serves(torch.zeros(1, 1, 2, 2, dtype=torch.float64))
    assert not serves(torch.zeros(1, 1, 2, 2, device="meta"))
    assert serves(torch.zeros(1, 1, 2, 2)) == (
        kernels_for("roi_pool", "cpu") is not None
    )
