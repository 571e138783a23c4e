"""Published numbers, RoIs that are degenerate or leave the map included."""

import numpy as np
import pytest
import torch
from pooling_cases import pool

CASES = {
    "crop_resize_nomax": {"mode": "crop"},
    "crop_resize_maxpool": {"mode": "crop", "max_pool": True},
    "crop_stn_nomax": {"mode": "crop_stn"},
    "crop_stn_maxpool": {"mode": "crop_stn", "max_pool": True},
    "roi_align_head": {"mode": "align"},
    "roi_pool_head": {"mode": "pool"},
}

RUNS = pytest.mark.parametrize(
    ("case", "box_gradient"),
    [(case, False) for case in CASES]
    + [(case, True) for case in CASES if case != "roi_pool_head"],
)


@pytest.fixture(scope="module")
def golden(shared):
    return dict(np.load(shared / "golden" / "pooling_a.npz"))


def outcome(golden, options, dtype=torch.float32, box_gradient=False):
    features = torch.from_numpy(golden["features"]).to(dtype).requires_grad_()
    rois = torch.from_numpy(golden["rois"])[None, :, 1:].to(dtype)
    rois.requires_grad_(box_gradient)
    pooled = pool(features, rois, size=7, box_gradient=box_gradient, **options)
    pooled.backward(torch.from_numpy(golden["upstream"]).to(dtype))
    return pooled.detach().numpy(), features.grad.numpy()


@RUNS
def test_single_precision(golden, case, box_gradient):
    pooled, grad = outcome(golden, CASES[case], box_gradient=box_gradient)
    assert pooled.dtype == grad.dtype == np.float32
    np.testing.assert_allclose(pooled, golden[case], rtol=0, atol=1e-4)
    np.testing.assert_allclose(grad, golden[f"{case}_grad"], rtol=0, atol=1e-4)


@RUNS
def test_double_precision(golden, case, box_gradient):
    pooled, grad = outcome(golden, CASES[case], torch.float64, box_gradient)
    np.testing.assert_allclose(pooled, golden[f"{case}_f64"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(grad, golden[f"{case}_grad_f64"], rtol=0, atol=1e-12)


def test_the_two_crops_differ_only_beyond_the_last_cells(golden):
    rois = golden["rois"][:, 1:]
    height, width = golden["features"].shape[2:]
    inside = (rois >= 0) & (rois <= 16.0 * np.array([width, height] * 2) - 16)
    inside = inside.all(1)
    assert inside.sum() >= 25
    crop, _ = outcome(golden, CASES["crop_resize_nomax"])
    stn, _ = outcome(golden, CASES["crop_stn_nomax"])
    np.testing.assert_allclose(crop[inside], stn[inside], atol=1e-4)
    assert np.abs(crop - stn)[~inside].max() > 0.1
