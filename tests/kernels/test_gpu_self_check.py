"""The kernels for GPUs pass what any kernel must pass before its first use."""

import pytest
from faster_rcnn.kernels import self_check

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["nms", "match_boxes", "roi_pool"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning:triton")
def test_passes(gpu, name):
    from faster_rcnn.kernels import gpu as kernels

    assert self_check.fault_of(name, kernels, gpu.type) is None
