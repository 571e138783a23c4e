"""Finding, checking and doing without the compiled kernels."""

import logging
import os
import subprocess
import sys
import types

import pytest
import torch
from faster_rcnn.kernels import library, self_check
from faster_rcnn.kernels.library import cpu_kernel
from faster_rcnn.kernels.pooling import serves

OPERATORS = ["nms", "soft_nms", "match_boxes", "roi_pool"]

built = pytest.mark.skipif(cpu_kernel("nms") is None, reason="not built")


@pytest.fixture
def forget():
    """Verdicts are found anew, before the test and after it."""
    library.cpu_kernel.cache_clear()
    library._compiled_module.cache_clear()
    yield
    library.cpu_kernel.cache_clear()
    library._compiled_module.cache_clear()


@built
@pytest.mark.parametrize("name", OPERATORS)
def test_kernels_agree_with_their_references(name):
    assert self_check.fault_of(name, cpu_kernel("nms")) is None


def spoilt(name, change):
    """The compiled module with one function changed."""
    module = cpu_kernel("nms")
    copy = types.SimpleNamespace(**{k: getattr(module, k) for k in dir(module)})
    setattr(copy, name, change(getattr(module, name)))
    return copy


def shifted(position, by):
    """The function with one of its arguments changed."""
    return lambda run: (
        lambda *a: run(*a[:position], a[position] + by, *a[position + 1 :])
    )


@built
@pytest.mark.parametrize(
    ("name", "function", "change"),
    [
        ("nms", "nms", shifted(6, 0.02)),  # limit
        ("nms", "nms", shifted(7, 1.0)),  # offset
        ("soft_nms", "soft_nms", shifted(7, 0.1)),  # sigma
        ("match_boxes", "match", shifted(9, 0.5)),  # offset
        ("roi_pool", "RoiPooling", shifted(11, 1)),  # samples of RoIAlign
        (
            "roi_pool",
            "RoiPooling",
            lambda run: lambda *a: run(*a[:12], not a[12], *a[13:]),
        ),
        ("nms", "nms", lambda run: lambda *a: 1 / 0),
    ],
)
def test_a_wrong_kernel_is_found(name, function, change):
    assert self_check.fault_of(name, spoilt(function, change))


@built
def test_a_wrong_kernel_is_not_used(forget, monkeypatch, caplog):
    monkeypatch.setattr(
        self_check, "fault_of", lambda name, _: "off by one" if name == "nms" else None
    )
    for _ in range(3):
        assert cpu_kernel("nms") is None
        assert cpu_kernel("match_boxes") is not None
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert (
        "nms gives WRONG RESULTS" in record.message and "off by one" in record.message
    )


@built
def test_kernels_of_another_version_are_not_used(forget, monkeypatch, caplog):
    monkeypatch.setattr(library, "_INTERFACE", -1)
    assert cpu_kernel("nms") is None and cpu_kernel("roi_pool") is None
    assert [r.message for r in caplog.records if "another version" in r.message]
    assert len(caplog.records) == 1


@built
def test_the_check_does_not_depend_on_modes_of_the_caller(forget):
    with torch.inference_mode(), torch.device("meta"), torch.autocast("cpu"):
        assert all(cpu_kernel(name) is not None for name in OPERATORS)


def test_without_kernels_torchvision_serves():
    """A detector trains a step and detects, with a warning said once."""
    script = """
import logging, torch
logging.basicConfig()
from faster_rcnn.kernels.library import cpu_kernel
from faster_rcnn.layer_utils.roi_pooling import pool_rois
from faster_rcnn.nms import nms
assert cpu_kernel("nms") is None
boxes = torch.tensor([[[0.0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 29, 29]]])
ones = torch.ones(1, 3, dtype=torch.bool)
keep, kept = nms(boxes, torch.tensor([[3.0, 2, 1]]), ones, threshold=0.7, max_outputs=3)
assert keep[kept].tolist() == [0, 2]
features = torch.randn(1, 4, 8, 8, requires_grad=True)
pool_rois(features, boxes, None, mode="align", size=3, stride=4).sum().backward()
assert features.grad.any()
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, library.DISABLE: "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.count("torchvision's operators serve") == 1


def test_serves_only_what_it_can():
    assert not serves(torch.zeros(1, 1, 2, 2, dtype=torch.float64))
    assert not serves(torch.zeros(1, 1, 2, 2, device="meta"))
    assert serves(torch.zeros(1, 1, 2, 2)) == (cpu_kernel("roi_pool") is not None)
