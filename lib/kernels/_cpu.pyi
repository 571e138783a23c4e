from collections.abc import Sequence

interface: int
float16: bool

def nms(
    boxes: int,
    scores: int,
    valid: int,
    groups: int,
    images: int,
    count: int,
    limit: float,
    offset: float,
    slots: int,
    index: int,
    kept: int,
    threads: int,
) -> None: ...
def soft_nms(
    boxes: int,
    scores: int,
    valid: int,
    groups: int,
    images: int,
    count: int,
    gaussian: bool,
    sigma: float,
    threshold: float,
    min_score: float,
    offset: float,
    slots: int,
    index: int,
    kept: int,
    chosen: int,
    threads: int,
) -> None: ...
def match(
    boxes: int,
    box_stride: int,
    gt_boxes: int,
    gt_valid: int,
    crowd: int,
    usable: int,
    images: int,
    count: int,
    slots: int,
    offset: float,
    overlap: int,
    obj: int,
    is_best: int,
    crowd_share: int,
    threads: int,
) -> None: ...
def draw_polygons(
    vertices: int,
    parts: int,
    boxes: int,
    matched: int,
    images: int,
    objects: int,
    slots: int,
    count: int,
    size: int,
    masks: int,
    threads: int,
) -> None: ...
def paste_masks(
    masks: int,
    rows: int,
    columns: int,
    count: int,
    size: int,
    height: int,
    width: int,
    pasted: int,
    threads: int,
) -> None: ...

class RoiPooling:
    def __init__(
        self,
        levels: Sequence[tuple[int, int, int, int, float]],
        canonical_size: float,
        canonical_level: int,
        images: int,
        channels: int,
        dtype: int,
        rois: int,
        per_image: int,
        size: int,
        mode: int,
        sampling: int,
        aligned: bool,
        max_pool: bool,
        planar: bool,
        threads: int,
    ) -> None: ...
    def bilinear_forward(self, pooled: int, which: int) -> None: ...
    def bilinear_backward(self, grad: int, which: int) -> None: ...
    def max_forward(self, pooled: int, argmax: int) -> None: ...
    def max_backward(self, grad: int, argmax: int) -> None: ...
