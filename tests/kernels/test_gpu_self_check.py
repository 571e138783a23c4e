"""The kernels for GPUs pass what any kernel must pass before its first use."""

import pytest
from faster_rcnn.kernels import self_check

pytestmark = [pytest.mark.slow, pytest.mark.gpu]


@pytest.mark.parametrize("name", ["nms", "match_boxes", "roi_pool"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning:triton")
def test_passes(gpu, name, monkeypatch):
    from faster_rcnn.kernels import gpu as kernels
    from faster_rcnn.kernels.gpu import suppression

    if gpu.type == "cpu":  # interpreted: no more than shows that the check is passed
        monkeypatch.setattr(self_check, "_POOLINGS", self_check._POOLINGS[1::3])
        for size, value in (("PANEL", 192), ("TILE", 64), ("BLOCK", 64)):
            monkeypatch.setattr(suppression, size, value)
    assert self_check.fault_of(name, kernels, gpu.type) is None
